"""Task vectors made sparse: by magnitude, or by dropping values at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from samner.errors import SamnerError
from samner.merging.threshold import Limit, magnitude_limit
from samner.merging.tiles import Part, TaskVectors, Tile, block_rows, generator

SCOPES = ("global", "tensor")
"""Whether a share of values is counted over all modules of an expert, or over each module alone."""


class Trim:
    """Keeps the largest magnitudes of each expert, exactly ``round(share * n)`` of ``n`` values.

    Equal magnitudes go to the first in the order of module name, row, column.

    Args:
        vectors: The task vectors.
        share: Of the values, from 0 to 1.
        scope: One of ``SCOPES``.
    """

    def __init__(self, vectors: TaskVectors, share: float, scope: str) -> None:
        self._limits = [_limits(vectors, expert, share, scope) for expert in range(len(vectors.experts))]

    def __call__(self, part: Part, tile: Tile) -> Part:
        """The part with the rest set to zero, in place."""
        return part._replace(values=self._limits[part.expert][tile.module].top(part.values, tile))


def _limits(vectors: TaskVectors, expert: int, share: float, scope: str) -> Mapping[str, Limit]:
    modules = sorted(vectors.experts[expert][0].factors)
    if scope == "tensor":
        return {module: magnitude_limit(vectors, expert, [module], share) for module in modules}
    return dict.fromkeys(modules, magnitude_limit(vectors, expert, modules, share))


def check_scope(scope: object) -> None:
    """Refuse what is not one of ``SCOPES``."""
    if scope not in SCOPES:
        raise SamnerError(f"scope must be 'global' or 'tensor', not {scope!r}")


class Drop:
    """Keeps each value with probability ``density`` and divides it by that.

    What is kept follows from the seed, the module's name and the adapter's content, never from its name or position.

    Args:
        vectors: The task vectors.
        density: From 0 (not included) to 1.
        seed: Any whole number.
    """

    def __init__(self, vectors: TaskVectors, density: float, seed: int) -> None:
        self._digests: Sequence[str] = [adapter.digest for adapter, _ in vectors.experts]
        self._density = density
        self._seed = seed

    def __call__(self, part: Part, tile: Tile) -> Part:
        """The part with some values set to zero, in place."""
        chances = uniform(part.values, tile, self._seed, self._digests[part.expert])
        return part._replace(values=part.values.mul_(chances < self._density).div_(self._density))


def uniform(like: Tensor, tile: Tile, *key: object) -> Tensor:
    """Uniform random numbers for the values of a tile, the same however the module is cut into tiles."""
    rows, columns = like.shape
    step = block_rows(columns)
    blocks = [
        torch.rand(min(step, rows - row), columns, generator=generator(*key, tile.module, tile.start + row))
        for row in range(0, rows, step)
    ]
    return torch.cat(blocks).to(like.device)
