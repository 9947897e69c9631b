"""Task arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from samner.lora import LoraFactors
from samner.merging.registry import LowRankMethod, merge_method
from samner.merging.task_vectors import TaskVectors


@merge_method("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(LowRankMethod):
    """Task arithmetic as a weighted mean (Ilharco et al. 2023, arXiv 2212.04089).

    ``dW = lam * sum_i(w_i dW_i) / sum_i(w_i)``; the paper's sum of k task vectors is ``lam = k``. An
    expert that does not adapt a module counts as zero there. Exact as an adapter: the ranks add up.

    Args:
        lam: Scale of the result; default 1.0.
    """

    def factors(self, vectors: TaskVectors, module: str) -> LoraFactors:
        """``[w_1 s_1 B_1 ... w_k s_k B_k]`` and the ``A_i`` below each other."""
        whole = sum(weight for _, weight in vectors.experts)
        pairs = [(b * (self.lam * weight / whole), a) for weight, b, a in vectors.factors(module)]
        return LoraFactors(torch.cat([a for _, a in pairs]), torch.cat([b for b, _ in pairs], dim=1), 1.0)
