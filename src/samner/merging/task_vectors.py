"""Task vectors one tile at a time: rows of one module, small enough for a processor's cache.

A dense ``dW`` of a large model does not fit into memory (28 GB for an adapter of an 8-billion-parameter base), so it
is never built: each pass makes its tiles anew from the low-rank factors, which takes less time than reading them back.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from samner.backbones import usable_device
from samner.errors import SamnerError
from samner.lora import LoraAdapter, LoraFactors

Expert: TypeAlias = tuple[LoraAdapter, float]
"""An adapter and its weight, which is positive."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, how many values of it are done, and how many there are."""

BLOCK = 1 << 15  # values
TILE_BLOCKS = {"cpu": 4}  # blocks in a tile: what the processors' caches hold
TILE_BLOCKS_ELSEWHERE = 512


class Tile(NamedTuple):
    """Rows ``start`` to ``stop`` of a module. Tiles compare as their places in the task vector do."""

    module: str
    start: int
    stop: int


class Part(NamedTuple):
    """What one expert has to say on a tile; ``values``, of shape (rows, in), may be written over."""

    expert: int
    weight: float
    values: Tensor


class Engine:
    """Device, threads and working memory of a merge.

    Args:
        device: A torch device name, or ``"auto"``: a GPU if there is one.
        threads: How many, of torch; as it is set by default. ``close`` sets it back.
        progress: Called as work gets done.

    Raises:
        SamnerError: If the device cannot be used or ``threads`` is below 1.
    """

    def __init__(self, device: str = "auto", threads: int | None = None, progress: Progress | None = None) -> None:
        self.device = torch.device(usable_device(device))
        if threads is not None and threads < 1:
            raise SamnerError(f"threads must be at least 1, not {threads}")
        self.progress: Progress = progress or (lambda stage, done, total: None)
        self._threads = torch.get_num_threads() if threads else None
        self._buffers: dict[str, Tensor] = {}
        if threads:
            torch.set_num_threads(threads)

    def buffer(self, name: str, shape: Sequence[int]) -> Tensor:
        """Working memory of a shape, float32, which keeps what was last written to it under that name and shape.

        New memory for every step of every tile would take longer to get than the steps themselves.
        """
        size = math.prod(shape)
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = torch.empty(size, device=self.device)
        return self._buffers[name][:size].view(*shape)

    def close(self) -> None:
        """Give back the memory and set torch's threads to what they were."""
        self._buffers.clear()
        if self._threads:
            torch.set_num_threads(self._threads)


class TaskVectors:
    """The task vectors of the experts that are to be merged.

    Args:
        experts: Adapters and weights.
        engine: Where to compute.
    """

    def __init__(self, experts: Sequence[Expert], engine: Engine) -> None:
        self.experts = experts
        self.engine = engine
        self.shapes: Mapping[str, tuple[int, int]] = {
            module: factors.shape for adapter, _ in experts for module, factors in sorted(adapter.factors.items())
        }
        self._factors = lru_cache(maxsize=4 * len(experts))(
            lambda expert, module: on_device(experts[expert][0].factors[module], engine.device)
        )

    @property
    def modules(self) -> list[str]:
        """Names of the modules that any expert adapts, in order."""
        return sorted(self.shapes)

    def parts(self, tile: Tile) -> list[Part]:
        """The values of every expert that adapts the tile's module."""
        return [
            Part(i, weight, self.values(i, tile))
            for i, (adapter, weight) in enumerate(self.experts)
            if tile.module in adapter.factors
        ]

    def factors(self, module: str) -> list[tuple[float, Tensor, Tensor]]:
        """Weight, ``b`` (the scale in it) and ``a`` of every expert that adapts a module."""
        return [
            (weight, *self._factors(i, module))
            for i, (adapter, weight) in enumerate(self.experts)
            if module in adapter.factors
        ]

    def values(self, expert: int, tile: Tile) -> Tensor:
        """One expert's values on a tile, float32 of shape (rows, in): in working memory, good until the next tile."""
        b, a = self._factors(expert, tile.module)
        out = self.engine.buffer(f"values of {expert}", (tile.stop - tile.start, a.shape[1]))
        return torch.mm(b[tile.start : tile.stop], a, out=out)

    def sample(self, expert: int, module: str, count: int) -> Tensor:
        """So many values of one expert in a module, at places that follow from the module's name."""
        b, a = (factor.cpu() for factor in self._factors(expert, module))
        places = generator(module)
        rows = torch.randint(len(b), (count,), generator=places)
        columns = torch.randint(a.shape[1], (count,), generator=places)
        drawn: Tensor = torch.linalg.vecdot(b[rows], a.T[columns])
        return drawn

    def tiles(self, modules: Iterable[str], stage: str) -> Iterator[Tile]:
        """The tiles of some modules, in the order given; each is counted as done when the next is asked for.

        Args:
            modules: Their names.
            stage: What progress is reported as.
        """
        modules = list(modules)
        total = sum(math.prod(self.shapes[module]) for module in modules)
        done = 0
        for module in modules:
            for tile in tiles(module, self.shapes[module], self.engine.device):
                yield tile
                done += (tile.stop - tile.start) * self.shapes[module][1]
                self.engine.progress(stage, done, total)


def on_device(factors: LoraFactors, device: torch.device) -> tuple[Tensor, Tensor]:
    """The factors ``b``, with the scale in it, and ``a``, both float32."""
    return factors.b.to(device, torch.float32) * factors.scale, factors.a.to(device, torch.float32)


def tiles(module: str, shape: tuple[int, int], device: torch.device) -> Iterator[Tile]:
    """Cut a module of shape (out, in) into tiles of whole blocks."""
    rows = block_rows(shape[1]) * TILE_BLOCKS.get(device.type, TILE_BLOCKS_ELSEWHERE)
    for start in range(0, shape[0], rows):
        yield Tile(module, start, min(start + rows, shape[0]))


def block_rows(columns: int) -> int:
    """How many rows make a block, the unit of what is drawn at random: the same on every device."""
    return max(1, BLOCK // columns)


def generator(*key: object) -> torch.Generator:
    """Random numbers (of the CPU) that follow from a key."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def uniform(like: Tensor, tile: Tile, *key: object) -> Tensor:
    """Uniform random numbers for the values of a tile, the same however the module is cut into tiles."""
    rows, columns = like.shape
    step = block_rows(columns)
    blocks = [
        torch.rand(min(step, rows - row), columns, generator=generator(*key, tile.module, tile.start + row))
        for row in range(0, rows, step)
    ]
    return torch.cat(blocks).to(like.device)
