"""DELLA: values dropped at random, large ones less often, before the sign election of TIES."""

from __future__ import annotations

from dataclasses import dataclass

from samner.errors import SamnerError
from samner.merging.consensus import elect
from samner.merging.methods.dare import LEAST_CHANCE, DropMethod
from samner.merging.registry import TileRule, is_number, merge_method
from samner.merging.sparsify import MagPrune
from samner.merging.task_vectors import TaskVectors


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
