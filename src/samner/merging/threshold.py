"""Task vectors made sparse by magnitude: exact thresholds, without ever holding a task vector.

The bits of floats that are not negative are ordered as the floats are, so magnitudes are handled as integers. A sample
says between which bounds the threshold must lie; one pass counts the values above them and keeps those between, and
among these the threshold is found exactly. Should the sample mislead, histograms over the bits of all values give the
bounds. So the result never depends on the sample, and memory on neither the values nor the size of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samner.errors import SamnerError
from samner.merging.task_vectors import Part, TaskVectors, Tile

SCOPES = ("global", "tensor")
"""Whether a share of values is counted over all modules of an expert, or over each module alone."""

SMALL = 1 << 16  # up to so many values need no bounds
SAMPLE = 1 << 14  # values in the sample for every module
MOST = 1 << 26  # values between the bounds, at four bytes each, that may be held
_LOW = 16  # bits that the first histogram leaves to the second
_INFINITY = 0x7F800000

_Bounds: TypeAlias = tuple[int, int]
"""The bits of a least and a greatest magnitude, both included."""


class Limit(NamedTuple):
    """Which values are kept: those above a magnitude, and of those that equal it the first.

    Args:
        bits: The magnitude, as the bits of a float32.
        tile: Values that equal it are kept in all tiles before this one, in none after it,
        ties: and in this one as many.
    """

    bits: int
    tile: Tile
    ties: int

    def top(self, values: Tensor, tile: Tile) -> Tensor:
        """A tile's values with those that are not kept set to zero, in place."""
        below = self.bits - (tile <= self.tile)
        if below < 0:  # all are kept
            return values
        kept = torch.hardshrink(values, _magnitude(below), out=values)
        if tile == self.tile:
            equal = (kept.abs().flatten().view(torch.int32) == self.bits).nonzero().flatten()
            kept.view(-1)[equal[self.ties :]] = 0
        return kept


NOTHING = Limit(_INFINITY, Tile("", 0, 0), 0)
EVERYTHING = Limit(0, Tile("\U0010ffff", 0, 0), 0)


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


def magnitude_limit(vectors: TaskVectors, expert: int, modules: Sequence[str], keep: int) -> Limit:
    """What keeps exactly so many of the values that an expert has in some modules.

    Args:
        vectors: The task vectors.
        expert: Which of them.
        modules: Names, in order.
        keep: How many.
    """
    size = sum(math.prod(vectors.shapes[module]) for module in modules)
    if keep in (0, size):
        return EVERYTHING if keep else NOTHING
    search = vectors, expert, modules
    likely = (0, _INFINITY) if size <= SMALL else _sample(*search, keep / size, size)
    if limit := _between(*search, keep, likely):
        return limit
    bucket, rest = _descend(_histogram(*search, (0, _INFINITY), _LOW), keep)
    sure = bucket << _LOW, ((bucket + 1) << _LOW) - 1
    if limit := _between(*search, keep, sure):
        return limit
    offset, ties = _descend(_histogram(*search, sure, 0), rest)
    bits = sure[0] + offset
    values = ((tile, vectors.values(expert, tile).abs_()) for tile in _tiles(*search, "ties"))
    return _cut(bits, ties, ((tile, int((part == _magnitude(bits)).sum())) for tile, part in values))


def _sample(vectors: TaskVectors, expert: int, modules: Sequence[str], share: float, size: int) -> _Bounds:
    """Bounds six standard errors apart from where a sample, of each module by its size, has the threshold."""
    rate = SAMPLE * len(modules) / size
    drawn = [vectors.sample(expert, module, math.ceil(rate * math.prod(vectors.shapes[module]))) for module in modules]
    bits = torch.cat(drawn).abs().sort(descending=True).values.view(torch.int32)
    margin = 6 * math.sqrt(share * (1 - share) / len(bits))
    first, last = int((share - margin) * len(bits)), int((share + margin) * len(bits))
    low = int(bits[last]) if last < len(bits) else 0
    high = int(bits[first]) if share > margin else _INFINITY
    return low, high


def _between(vectors: TaskVectors, expert: int, modules: Sequence[str], keep: int, bounds: _Bounds) -> Limit | None:
    """The limit, if it lies between the bounds and what lies there is not too much to look at."""
    found: list[tuple[Tile, NDArray[np.int32]]] = []
    rest, kept = keep, 0
    for tile in _tiles(vectors, expert, modules, "threshold"):
        above, inside = _split(vectors.values(expert, tile), bounds)
        rest -= above
        kept += len(inside)
        if kept > MOST:
            return None
        found.append((tile, inside))
    if not 0 < rest <= kept:
        return None
    bits = np.concatenate([inside for _, inside in found])
    bits.partition(kept - rest)
    limit = int(bits[kept - rest])
    ties = rest - int(np.count_nonzero(bits > limit))
    return _cut(limit, ties, ((tile, int(np.count_nonzero(inside == limit))) for tile, inside in found))


def _cut(bits: int, ties: int, counts: Iterable[tuple[Tile, int]]) -> Limit:
    """The limit at a magnitude, once the tiles' counts of it have been gone through as far as its ties reach."""
    for tile, equal in counts:
        if equal >= ties:
            return Limit(bits, tile, ties)
        ties -= equal
    raise AssertionError("more ties than values")


def _split(values: Tensor, bounds: _Bounds) -> tuple[int, NDArray[np.int32]]:
    """How many magnitudes are above the bounds, and the bits of those between them; ``values`` is written over."""
    low, high = map(_magnitude, bounds)
    magnitudes = values.abs_()
    if magnitudes.is_cuda:
        above = int((magnitudes > high).sum())
        inside = magnitudes[(magnitudes >= low) & (magnitudes <= high)].cpu().numpy()
    else:  # NumPy compares and counts several times as fast as torch does on a CPU
        array = magnitudes.numpy().ravel()
        over, chosen = array > high, array >= low
        above = int(np.count_nonzero(over))
        inside = array[np.flatnonzero(np.logical_xor(chosen, over, out=chosen))]
    return above, inside.view(np.int32)


def _tiles(vectors: TaskVectors, expert: int, modules: Sequence[str], stage: str) -> Iterator[Tile]:
    return vectors.tiles(modules, f"{stage} of {vectors.experts[expert][0].name}")


def _histogram(vectors: TaskVectors, expert: int, modules: Sequence[str], bounds: _Bounds, shift: int) -> Tensor:
    """How often the bits of magnitudes between the bounds, less the lower one and without the lowest bits, occur."""
    low, high = bounds
    bins = ((high - low) >> shift) + 1
    counts = torch.zeros(bins, dtype=torch.int64)
    for tile in _tiles(vectors, expert, modules, "histogram"):
        bits = vectors.values(expert, tile).abs_().flatten().view(torch.int32)
        counts += torch.bincount((bits[(bits >= low) & (bits <= high)] - low) >> shift, minlength=bins).cpu()
    return counts


def _descend(counts: Tensor, keep: int) -> tuple[int, int]:
    """The bucket that holds the ``keep``-th largest item, and how many of that bucket are to be kept."""
    at_least = counts.flip(0).cumsum(0)
    place = int((at_least < keep).sum())
    bucket = len(counts) - 1 - place
    return bucket, keep - int(at_least[place] - counts[bucket])


def _magnitude(bits: int) -> float:
    """The float32 of these bits."""
    return float(np.int32(bits).view(np.float32))
