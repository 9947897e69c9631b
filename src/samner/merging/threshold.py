"""The exact magnitude that the largest values of a task vector reach, without ever holding the task vector.

The bits of floats that are not negative are ordered as the floats are, so magnitudes are handled as integers. A sample
says between which bounds the threshold must lie; one pass counts the values above them and keeps those between, and
among these the threshold is found exactly. Should the sample mislead, histograms over the bits of all values give the
bounds. So the result never depends on the sample, and memory on neither the values nor the size of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samner.merging.task_vectors import TaskVectors, Tile

_SMALL = 1 << 16  # up to so many values need no bounds
_SAMPLE = 1 << 14  # values in the sample for every module
_MOST = 1 << 26  # values between the bounds, at four bytes each, that may be held
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
    likely = (0, _INFINITY) if size <= _SMALL else _sample(*search, keep / size, size)
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
    rate = _SAMPLE * len(modules) / size
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
        if kept > _MOST:
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
