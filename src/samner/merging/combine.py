"""From the experts' matrices to one: the weighted mean, and the mean of those that agree on a sign.

Sums are in float64, so that opposite values cancel exactly and the order of summation hardly matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from samner.merging.sparsify import Expert, Pass


def weighted_mean(experts: Sequence[Expert], matrices: Pass, lam: float) -> Iterator[tuple[str, Tensor]]:
    """Per module ``lam * sum_i(w_i x_i) / sum_i(w_i)``; an expert without the module counts as zero."""
    scale = lam / sum(weight for _, weight in experts)
    for module, contributions in matrices:
        delta, weight = next(contributions)
        total = delta.double().mul_(weight)
        for delta, weight in contributions:
            total.add_(delta, alpha=weight)
        yield module, total.mul_(scale).float()


def elected_mean(start: Callable[[], Pass], lam: float) -> Iterator[tuple[str, Tensor]]:
    """Per module and position ``lam`` times the weighted mean of the values of the elected sign, zeros left out.

    The sign is elected by mass, ``sign(sum_i w_i x_i)``. Where values cancel to exactly zero it is the sign that most
    positions of the whole task vector have, or negative if there are as many of each: the rule of the original code.

    Args:
        start: Begins a pass over the sparse task vectors. A second pass is made only if there is such a position.
        lam: Scale of the result.
    """
    majority = cache(lambda: sum(int(_Tally(values).mass.sign().sum()) for _, values in start()))
    for module, contributions in start():
        tally = _Tally(contributions)
        positive = tally.mass > 0
        cancelled = (tally.mass == 0) & (tally.above != 0)
        if cancelled.any() and majority() > 0:
            positive |= cancelled
        yield module, torch.where(positive, *tally.means()).mul_(lam).float()


class _Tally:
    """Weighted sums of the values above and below zero, and the weights of their experts, by position."""

    def __init__(self, contributions: Iterator[tuple[Tensor, float]]) -> None:
        first, weight = next(contributions)
        self.above, self.weight_above, self.below, self.weight_below = (
            torch.zeros(first.shape, dtype=torch.float64) for _ in range(4)
        )
        self._add(first, weight)
        for delta, weight in contributions:
            self._add(delta, weight)

    def _add(self, delta: Tensor, weight: float) -> None:
        self.above.add_(delta.clamp(min=0), alpha=weight)
        self.weight_above.add_(delta > 0, alpha=weight)
        self.below.add_(delta.clamp(max=0), alpha=weight)
        self.weight_below.add_(delta < 0, alpha=weight)

    @property
    def mass(self) -> Tensor:
        return self.above + self.below

    def means(self) -> tuple[Tensor, Tensor]:
        """Weighted means of the values above and of those below zero; zero where there are none."""
        tiny = torch.finfo(torch.float64).tiny
        return self.above / self.weight_above.clamp(min=tiny), self.below / self.weight_below.clamp(min=tiny)
