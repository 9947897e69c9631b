"""Task vectors made sparse: by magnitude, or by dropping values at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from samner.errors import SamnerError
from samner.merging.task_vectors import Part, TaskVectors, Tile, block_rows, generator
from samner.merging.threshold import Limit, magnitude_limit

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
        self._limits = _limits(vectors, scope, lambda size: round(share * size))

    def __call__(self, part: Part, tile: Tile) -> Part:
        """The part with the rest set to zero, in place."""
        return part._replace(values=self._limits[part.expert][tile.module].top(part.values, tile))


class Band:
    """Keeps the largest magnitudes of each expert after the very largest, exactly ``round(share * n)`` of ``n``.

    Equal magnitudes are ordered as :class:`Trim` orders them.

    Args:
        vectors: The task vectors.
        share: Of the values, from 0 to 1.
        outliers: Share of the values that are left out at the top, or less where fewer than that are not kept.
        scope: One of ``SCOPES``.
    """

    def __init__(self, vectors: TaskVectors, share: float, outliers: float, scope: str) -> None:
        def above(size: int) -> int:
            return min(round(outliers * size), size - round(share * size))

        self._engine = vectors.engine
        self._outer = _limits(vectors, scope, lambda size: above(size) + round(share * size))
        self._inner = _limits(vectors, scope, above)

    def __call__(self, part: Part, tile: Tile) -> Part:
        """The part with the rest set to zero, in place."""
        outliers = self._engine.buffer("outliers", part.values.shape).copy_(part.values)
        outliers = self._inner[part.expert][tile.module].top(outliers, tile)
        kept = self._outer[part.expert][tile.module].top(part.values, tile)
        return part._replace(values=kept.sub_(outliers))


def _limits(vectors: TaskVectors, scope: str, keep: Callable[[int], int]) -> list[Mapping[str, Limit]]:
    """Of each expert, by module, what keeps the ``keep(n)`` largest of the ``n`` values that a scope has."""
    limits: list[Mapping[str, Limit]] = []
    for expert, (adapter, _) in enumerate(vectors.experts):
        modules = sorted(adapter.factors)
        found: dict[str, Limit] = {}
        for group in [modules] if scope == "global" else [[module] for module in modules]:
            size = sum(math.prod(vectors.shapes[module]) for module in group)
            found |= dict.fromkeys(group, magnitude_limit(vectors, expert, group, keep(size)))
        limits.append(found)
    return limits


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


class MagPrune:
    """Keeps a value the likelier the larger it is among those of its row, and divides it by that probability.

    Of ``n`` values in a row the one of rank ``r``, counted from 0 at the smallest magnitude, is kept with probability
    ``density + epsilon * (2 r / (n - 1) - 1)``; equal magnitudes are ranked from left to right. What is kept follows
    from the same as in :class:`Drop`.

    Args:
        vectors: The task vectors.
        density: Probability of keeping a value, on average.
        epsilon: How far it goes below and above that; every probability must be above 0 and at most 1.
        seed: Any whole number.
    """

    def __init__(self, vectors: TaskVectors, density: float, epsilon: float, seed: int) -> None:
        self._digests: Sequence[str] = [adapter.digest for adapter, _ in vectors.experts]
        self._density = density
        self._epsilon = epsilon
        self._seed = seed

    def __call__(self, part: Part, tile: Tile) -> Part:
        """The part with some values set to zero, in place."""
        values = part.values
        columns = values.shape[1]
        by_rank = torch.linspace(-1, 1, columns) if columns > 1 else torch.zeros(1)
        by_rank = by_rank.mul_(self._epsilon).add_(self._density).to(values.device).expand_as(values)
        chances = torch.empty_like(values).scatter_(1, _ascending(values.abs()), by_rank)
        kept = uniform(values, tile, self._seed, self._digests[part.expert]) < chances
        return part._replace(values=values.mul_(kept).div_(chances))


def _ascending(magnitudes: Tensor) -> Tensor:
    """The columns of each row by magnitude, equal ones from left to right."""
    if magnitudes.is_cuda:
        return magnitudes.argsort(dim=1, stable=True)
    # NumPy sorts integers several times as fast as torch argsorts floats: magnitude above, column below
    keys = magnitudes.view(torch.int32).numpy().astype(np.int64) << 32
    keys |= np.arange(magnitudes.shape[1])
    keys.sort(axis=1)
    return torch.from_numpy(keys & 0xFFFFFFFF)


def uniform(like: Tensor, tile: Tile, *key: object) -> Tensor:
    """Uniform random numbers for the values of a tile, the same however the module is cut into tiles."""
    rows, columns = like.shape
    step = block_rows(columns)
    blocks = [
        torch.rand(min(step, rows - row), columns, generator=generator(*key, tile.module, tile.start + row))
        for row in range(0, rows, step)
    ]
    return torch.cat(blocks).to(like.device)
