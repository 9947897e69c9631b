"""The exact magnitude that the largest values of a task vector reach, without ever holding the task vector.

The bits of floats that are not negative are ordered as the floats are, so magnitudes are handled as integers. A sample
says between which bounds the threshold must lie; one pass counts the values above them and keeps those between, and
among these the threshold is found exactly. Should the sample mislead, histograms over the bits of all values give the
bounds. So the result never depends on the sample, and memory on neither the values nor the size of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samner.merging.tiles import TaskVectors, Tile

_SMALL = 1 << 16  # up to so many values need no bounds
_SAMPLE = 1 << 14  # values of each module in the sample
_MOST = 1 << 25  # values between the bounds, at eight bytes each, that may be kept
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


def magnitude_limit(vectors: TaskVectors, expert: int, modules: Sequence[str], share: float) -> Limit:
    """What keeps exactly ``round(share * n)`` of the ``n`` values that an expert has in some modules.

    Args:
        vectors: The task vectors.
        expert: Which of them.
        modules: Names, in order.
        share: From 0 to 1.
    """
    size = sum(math.prod(vectors.shapes[module]) for module in modules)
    keep = round(share * size)
    if keep in (0, size):
        return EVERYTHING if keep else NOTHING
    return next(
        limit
        for bounds in _narrowing(vectors, expert, modules, keep, size)
        if (limit := _between(vectors, expert, modules, keep, bounds))
    )


def _narrowing(vectors: TaskVectors, expert: int, modules: Sequence[str], keep: int, size: int) -> Iterator[_Bounds]:
    """Bounds of the threshold: likely ones, then sure ones, then the threshold itself."""
    yield (0, _INFINITY) if size <= _SMALL else _sample(vectors, expert, modules, keep / size)
    high = _histogram(vectors, expert, modules, (0, _INFINITY), _LOW)
    bucket, rest = _descend(high, keep)
    bounds = bucket << _LOW, ((bucket + 1) << _LOW) - 1
    yield bounds
    offset, _ = _descend(_histogram(vectors, expert, modules, bounds, 0), rest)
    yield bounds[0] + offset, bounds[0] + offset


def _sample(vectors: TaskVectors, expert: int, modules: Sequence[str], share: float) -> _Bounds:
    """Bounds six standard errors apart from where a sample has the threshold."""
    drawn = [vectors.sample(expert, module, _SAMPLE).abs() for module in modules]
    magnitudes, order = torch.cat(drawn).sort(descending=True)
    weights = torch.tensor([math.prod(vectors.shapes[module]) / _SAMPLE for module in modules], dtype=torch.float64)
    shares = weights.repeat_interleave(_SAMPLE)[order].cumsum(0)
    shares /= shares[-1].clone()
    margin = 6 * math.sqrt(share * (1 - share) / len(order))
    places = torch.searchsorted(shares, torch.tensor([share + margin, share - margin], dtype=torch.float64))
    low, high = magnitudes[places.clamp(max=len(order) - 1)].view(torch.int32).tolist()
    return (low if share + margin < 1 else 0), (high if share > margin else _INFINITY)


def _between(vectors: TaskVectors, expert: int, modules: Sequence[str], keep: int, bounds: _Bounds) -> Limit | None:
    """The limit, if it lies between the bounds and what lies there is not too much to look at."""
    found: list[tuple[Tile, NDArray[np.int32], NDArray[np.int64]]] = []
    above = kept = 0
    for tile in vectors.tiles(modules, f"threshold of {vectors.experts[expert][0].name}"):
        more, bits, times = _count(vectors.values(expert, tile), bounds)
        above += more
        kept += len(bits)
        if kept > _MOST:
            return None
        if len(bits):
            found.append((tile, bits, times))
    rest = keep - above
    if not found or not 0 < rest <= sum(int(times.sum()) for _, _, times in found):
        return None
    bits, times = (np.concatenate(arrays) for arrays in list(zip(*found, strict=True))[1:])
    order = np.argsort(bits)[::-1]
    limit = int(bits[order[np.searchsorted(times[order].cumsum(), rest)]])
    ties = rest - int(times[bits > limit].sum())
    for tile, bits, times in found:
        equal = int(times[bits == limit].sum())
        if equal >= ties:
            return Limit(limit, tile, ties)
        ties -= equal
    raise AssertionError("more ties than values")


def _count(values: Tensor, bounds: _Bounds) -> tuple[int, NDArray[np.int32], NDArray[np.int64]]:
    """How many magnitudes are above the bounds; those between them, and how often each occurs."""
    low, high = map(_magnitude, bounds)
    magnitudes = values.abs_()
    if magnitudes.is_cuda:
        above = int((magnitudes > high).sum())
        inside = magnitudes[(magnitudes >= low) & (magnitudes <= high)].cpu().numpy()
    else:  # NumPy compares and counts several times as fast as torch does on a CPU
        array = magnitudes.numpy()
        above = int(np.count_nonzero(array > high))
        inside = array.ravel()[np.flatnonzero((array >= low) & (array <= high))]
    return above, *np.unique(inside.view(np.int32), return_counts=True)


def _histogram(vectors: TaskVectors, expert: int, modules: Sequence[str], bounds: _Bounds, shift: int) -> Tensor:
    """How often the bits of magnitudes between the bounds, less the lower one and without the lowest bits, occur."""
    low, high = bounds
    bins = ((high - low) >> shift) + 1

    counts = torch.zeros(bins, dtype=torch.int64)
    for tile in vectors.tiles(modules, f"histogram of {vectors.experts[expert][0].name}"):
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
