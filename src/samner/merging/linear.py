"""Task arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from samner.merging.combine import weighted_mean
from samner.merging.registry import MergeMethod, merge_method
from samner.merging.sparsify import Expert, dense


@merge_method("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(MergeMethod):
    """Task arithmetic as a weighted mean (Ilharco et al. 2023, arXiv 2212.04089).

    ``dW = lam * sum_i(w_i dW_i) / sum_i(w_i)``; the paper's sum of k task vectors is ``lam = k``. An
    expert that does not adapt a module counts as zero there.

    Args:
        lam: Scale of the result; default 1.0.
    """

    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged ``dW``) in one pass."""
        return weighted_mean(experts, dense(experts), self.lam)
