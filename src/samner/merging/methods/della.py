"""DELLA: values dropped at random, large ones less often, before the sign election of TIES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samner.errors import SamnerError
from samner.merging.consensus import elect
from samner.merging.methods.dare import LEAST_CHANCE, DropMethod
from samner.merging.registry import TileRule, is_number, merge_method
from samner.merging.task_vectors import Part, TaskVectors, Tile, uniform


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


@merge_method("della")
@dataclass(frozen=True, kw_only=True)
class Della(DropMethod):
    """DELLA: MAGPRUNE, elect sign, disjoint mean (Deep, Bhardwaj and Poria 2024, arXiv 2406.11617).

    ``x_i = m_i * dW_i / p_i`` with ``m_i ~ Bernoulli(p_i)`` by position, where ``p_i`` grows with the magnitude's rank
    in its row, evenly from ``density - epsilon`` at the smallest to ``density + epsilon`` at the largest (the paper's
    drop probability is ``1 - p_i``); then ``g`` and ``dW`` as in :class:`Ties`.

    This is what the authors' code does (its ``window_size`` is ``epsilon``). mergekit draws alike, but in its present
    version rescales to keep the tensor's norm, if at all. At density 1 nothing is dropped, whatever ``epsilon``.

    Args:
        density: Share of values kept on average; default 0.2.
        epsilon: How far the probability of keeping a value goes below and above that; default 0.1.
        lam: Scale of the result; default 1.0. The authors use 1.1 in their example.
        seed: Decides with the module's name and the adapter's content what is dropped; default 0.
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.epsilon) or self.epsilon < 0:
            raise SamnerError(f"epsilon must be a finite number of at least 0, not {self.epsilon!r}")
        room = min(self.density - LEAST_CHANCE, 1 - self.density)
        if self.density < 1 and self.epsilon > room:
            raise SamnerError(
                f"epsilon must be below density and not above 1 - density, at most {room:g} with density "
                f"{self.density:g}, so that every probability is between 0 and 1; it is {self.epsilon!r}"
            )

    def rule(self, vectors: TaskVectors) -> TileRule:
        """Count the signs; what merges a tile."""
        epsilon = self.epsilon if self.density < 1 else 0.0
        return elect(vectors, MagPrune(vectors, self.density, epsilon, self.seed), self.lam)


def _ascending(magnitudes: Tensor) -> Tensor:
    """The columns of each row by magnitude, equal ones from left to right."""
    if magnitudes.is_cuda:
        return magnitudes.argsort(dim=1, stable=True)
    # NumPy sorts integers several times as fast as torch argsorts floats: magnitude above, column below
    keys = magnitudes.view(torch.int32).numpy().astype(np.int64) << 32
    keys |= np.arange(magnitudes.shape[1])
    keys.sort(axis=1)
    return torch.from_numpy(keys & 0xFFFFFFFF)
