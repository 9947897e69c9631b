"""Model Breadcrumbs: the magnitudes between two limits."""

from __future__ import annotations

from dataclasses import dataclass

from samner.errors import SamnerError
from samner.merging.consensus import average
from samner.merging.methods.ties import TrimMethod
from samner.merging.registry import TileRule, is_number, merge_method
from samner.merging.task_vectors import TaskVectors
from samner.merging.threshold import Band


@merge_method("breadcrumbs")
@dataclass(frozen=True, kw_only=True)
class Breadcrumbs(TrimMethod):
    """Model Breadcrumbs: drop outliers and small values, then the weighted mean (Davari and Belilovsky, 2312.06795).

    ``x_i = band(dW_i)`` drops the ``gamma`` share of largest magnitudes and keeps the ``density`` share after them;
    then ``dW = lam * sum_i(w_i x_i) / sum_i(w_i)``. The paper's sum of k task vectors scaled by ``alpha`` is
    ``lam = alpha * k``. Kept are exactly ``round(density * n)`` of ``n`` values; where ``density + gamma`` is above 1,
    fewer are dropped at the top, as in mergekit.

    The paper masks by layer, and so does mergekit (each tensor), whose ``density`` and ``gamma`` these are; the
    authors' code counts in each row of a tensor.

    Args:
        density: Share of values kept; default 0.2. The authors' code searches from 0.05 to 0.2.
        gamma: Share of values dropped as outliers; default 0.01. The authors' code searches from 0.001 to 0.01.
        lam: Scale of the result; default 1.0.
        scope: ``"tensor"`` (default) counts over each module alone, ``"global"`` over all modules of the expert.
    """

    gamma: float = 0.01
    scope: str = "tensor"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.gamma) or not 0 <= self.gamma < 1:
            raise SamnerError(f"gamma must be at least 0 and below 1, not {self.gamma!r}")

    def rule(self, vectors: TaskVectors) -> TileRule:
        """Find each expert's two limits; what merges a tile."""
        return average(vectors, Band(vectors, self.density, self.gamma, self.scope), self.lam)
