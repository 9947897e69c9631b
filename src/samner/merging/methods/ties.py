"""TIES, and its trimming alone."""

from __future__ import annotations

from dataclasses import dataclass

from samner.merging.consensus import average, elect
from samner.merging.registry import DenseMethod, SparseMethod, TileRule, merge_method
from samner.merging.task_vectors import TaskVectors
from samner.merging.threshold import Trim, check_scope


@dataclass(frozen=True, kw_only=True)
class TrimMethod(SparseMethod, DenseMethod):
    """A method that keeps values by magnitude: ``scope`` is over what they are counted (default ``"global"``)."""

    scope: str = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scope(self.scope)


@merge_method("ties")
@dataclass(frozen=True, kw_only=True)
class Ties(TrimMethod):
    """TIES: trim, elect sign, disjoint mean (Yadav et al. 2023, arXiv 2306.01708).

    Per expert ``x_i = top(dW_i)`` keeps the ``density`` largest magnitudes; per position
    ``g = sign(sum_i w_i x_i)`` and ``dW = lam * sum_{sign(x_i) = g}(w_i x_i) / sum_{sign(x_i) = g}(w_i)``.

    Where the kept values cancel to exactly zero, ``g`` is the sign that most positions of the whole result have.

    With equal weights this is the original code's ``topk``, ``mass``, ``dis-mean`` on full flattened task vectors,
    but for the count kept: exactly ``round(density * n)`` of the ``n`` values of the modules that the expert adapts,
    equal magnitudes going to the first in module-name order.

    Args:
        density: Share of values kept; default 0.2, the paper's.
        lam: Scale of the result; default 1.0, the paper's.
        scope: ``"global"`` (default) counts over all modules of the expert, as the original code does; ``"tensor"``
            over each module alone, as PEFT and mergekit do.
    """

    def rule(self, vectors: TaskVectors) -> TileRule:
        """Find each expert's threshold; what merges a tile."""
        return elect(vectors, Trim(vectors, self.density, self.scope), self.lam)


@merge_method("magnitude_prune")
@dataclass(frozen=True, kw_only=True)
class MagnitudePrune(TrimMethod):
    """The trimming of TIES, then the weighted mean (the ``magnitude_prune`` of PEFT, on the dense task vectors).

    ``dW = lam * sum_i(w_i top(dW_i)) / sum_i(w_i)`` with ``top`` as in :class:`Ties`.

    Args:
        density: Share of values kept; default 0.2.
        lam: Scale of the result; default 1.0.
        scope: As in :class:`Ties`; default ``"global"``.
    """

    def rule(self, vectors: TaskVectors) -> TileRule:
        """Find each expert's threshold; what merges a tile."""
        return average(vectors, Trim(vectors, self.density, self.scope), self.lam)
