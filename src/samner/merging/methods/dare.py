"""DARE: values dropped at random and the rest rescaled, before a linear or a TIES merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samner.errors import SamnerError
from samner.merging.consensus import average, elect
from samner.merging.registry import DenseMethod, SparseMethod, TileRule, merge_method
from samner.merging.task_vectors import Part, TaskVectors, Tile, uniform

LEAST_CHANCE = 1e-6
"""No value is kept with a lower probability: random float32 numbers are hardly finer, and what is kept grows by it."""


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


@dataclass(frozen=True, kw_only=True)
class DropMethod(SparseMethod, DenseMethod):
    """A method that drops values at random: ``seed`` decides which (default 0)."""

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise SamnerError(f"seed must be a whole number, not {self.seed!r}")
        if self.density < LEAST_CHANCE:
            raise SamnerError(f"density must be at least {LEAST_CHANCE:g} to drop at random, not {self.density!r}")


@merge_method("dare_linear")
@dataclass(frozen=True, kw_only=True)
class DareLinear(DropMethod):
    """DARE, then the weighted mean (Yu et al. 2024, arXiv 2311.03099).

    ``x_i = m_i * dW_i / density`` with ``m_i ~ Bernoulli(density)`` by position (the paper's drop rate is
    ``p = 1 - density``), then :class:`Linear` over the ``x_i``.

    Args:
        density: Share of values kept on average; default 0.2.
        lam: Scale of the result; default 1.0.
        seed: Decides with the module's name and the adapter's content what is dropped; default 0.
    """

    def rule(self, vectors: TaskVectors) -> TileRule:
        """What merges a tile."""
        return average(vectors, Drop(vectors, self.density, self.seed), self.lam)


@merge_method("dare_ties")
@dataclass(frozen=True, kw_only=True)
class DareTies(DropMethod):
    """DARE in the place of trimming, then the sign election and disjoint mean of TIES (arXiv 2311.03099, 2306.01708).

    ``x_i = m_i * dW_i / density`` as in :class:`DareLinear`, then ``g`` and ``dW`` as in :class:`Ties`. PEFT and
    mergekit combine the two in the same way; the paper's code trims after dropping.

    Args:
        density: Share of values kept on average; default 0.2.
        lam: Scale of the result; default 1.0.
        seed: Decides with the module's name and the adapter's content what is dropped; default 0.
    """

    def rule(self, vectors: TaskVectors) -> TileRule:
        """Count the signs; what merges a tile."""
        return elect(vectors, Drop(vectors, self.density, self.seed), self.lam)
