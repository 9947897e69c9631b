"""Passes over the experts' task vectors, module by module: whole, trimmed by magnitude, or dropped at random.

A pass visits the modules in the order of their names and makes one dense matrix of one expert at a time, so that
memory is bounded by the largest module, not by the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from samner.adapters import LoraAdapter

Expert: TypeAlias = tuple[LoraAdapter, float]
"""An adapter and its weight, which is positive."""

Pass: TypeAlias = Iterator[tuple[str, Iterator[tuple[Tensor, float]]]]
"""Per module: its name, and the matrices of the experts that adapt it, with their weights.

The matrices of one module have to be used up before the next module is asked for.
"""

_LOW_BITS = 16


def dense(experts: Sequence[Expert]) -> Pass:
    """A pass over the whole task vectors."""
    return _visit(experts, [adapter.delta for adapter, _ in experts])


def dropped(experts: Sequence[Expert], density: float, seed: int) -> Pass:
    """A pass in which each value is kept with probability ``density`` and divided by it, else set to zero.

    What is kept follows from the seed, the module's name and the adapter's content, never from its name or position.
    """
    return _visit(experts, [_dropper(adapter, density, seed) for adapter, _ in experts])


def trimmed(experts: Sequence[Expert], limits: Sequence[Threshold]) -> Pass:
    """A pass in which what does not reach its expert's threshold is set to zero.

    Of equal magnitudes at the threshold, the first in the order of the pass (module name, row, column) are kept.
    """
    return _visit(experts, [_trimmer(adapter, limit) for (adapter, _), limit in zip(experts, limits, strict=True)])


def trimmed_by_tensor(experts: Sequence[Expert], density: float) -> Pass:
    """A pass in which each module on its own keeps exactly ``round(density * size)`` values."""
    return _visit(experts, [_tensor_trimmer(adapter, density) for adapter, _ in experts])


class Threshold(NamedTuple):
    """A magnitude is kept if its float32 bits are above ``bits``, or equal and among the first ``ties``."""

    bits: int
    ties: int


def global_threshold(adapter: LoraAdapter, density: float) -> Threshold:
    """What keeps exactly ``round(density * n)`` of the ``n`` values of the adapter's whole task vector.

    Takes two passes over the adapter and a few hundred kilobytes beside one dense matrix.
    """
    if density == 1:
        return Threshold(bits=-1, ties=0)
    return _threshold(lambda: map(adapter.delta, adapter.modules), round(density * adapter.numel))


def _visit(experts: Sequence[Expert], matrices: Sequence[Callable[[str], Tensor]]) -> Pass:
    """Walk the union of the modules; ``matrices`` gives each expert's matrix for a module's name."""

    def contributions(module: str) -> Iterator[tuple[Tensor, float]]:
        for (adapter, weight), matrix in zip(experts, matrices, strict=True):
            if module in adapter.factors:
                yield matrix(module), weight

    for module in sorted({module for adapter, _ in experts for module in adapter.factors}):
        yield module, contributions(module)


def _dropper(adapter: LoraAdapter, density: float, seed: int) -> Callable[[str], Tensor]:
    def drop(module: str) -> Tensor:
        delta = adapter.delta(module)
        key = hashlib.sha256(f"{seed}\0{module}\0{adapter.digest}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big", signed=True))
        return delta.mul_(torch.rand(delta.shape, generator=generator) < density).div_(density)

    return drop


def _trimmer(adapter: LoraAdapter, limit: Threshold) -> Callable[[str], Tensor]:
    ties = limit.ties

    def trim(module: str) -> Tensor:
        nonlocal ties
        delta, used = _trim(adapter.delta(module), Threshold(limit.bits, ties))
        ties -= used
        return delta

    return trim


def _tensor_trimmer(adapter: LoraAdapter, density: float) -> Callable[[str], Tensor]:
    def trim(module: str) -> Tensor:
        delta = adapter.delta(module)
        return _trim(delta, _threshold(lambda: [delta], round(density * delta.numel())))[0]

    return trim


def _trim(delta: Tensor, limit: Threshold) -> tuple[Tensor, int]:
    """``delta`` with the rest set to zero, in place, and how many ties were used up."""
    bits = _magnitude_bits(delta)
    keep = bits > limit.bits
    used = 0
    if limit.ties and limit.bits:  # zeros need no choosing among them
        at_limit = (bits == limit.bits).flatten().nonzero().flatten()[: limit.ties]
        keep.view(-1)[at_limit] = True
        used = len(at_limit)
    return delta.mul_(keep), used


def _threshold(start: Callable[[], Iterable[Tensor]], keep: int) -> Threshold:
    """The exact threshold for the ``keep`` largest magnitudes, by radix selection: high bits, then low bits."""
    high = torch.zeros(1 << (31 - _LOW_BITS), dtype=torch.int64)
    for delta in start():
        high += torch.bincount((_magnitude_bits(delta) >> _LOW_BITS).flatten(), minlength=len(high))
    bucket, keep = _descend(high, keep)
    low = torch.zeros(1 << _LOW_BITS, dtype=torch.int64)
    for delta in start():
        bits = _magnitude_bits(delta)
        low += torch.bincount(bits[bits >> _LOW_BITS == bucket] & (len(low) - 1), minlength=len(low))
    rest, keep = _descend(low, keep)
    return Threshold(bucket << _LOW_BITS | rest, keep)


def _descend(counts: Tensor, keep: int) -> tuple[int, int]:
    """The bucket that holds the ``keep``-th largest item, and how many of that bucket are to be kept."""
    at_least = counts.flip(0).cumsum(0)
    place = int((at_least < keep).sum())
    bucket = len(counts) - 1 - place
    return bucket, keep - int(at_least[place] - counts[bucket])


def _magnitude_bits(delta: Tensor) -> Tensor:
    """The bits of ``|delta|`` as integers: those of floats that are not negative are ordered as the floats are."""
    return delta.abs().view(torch.int32)
