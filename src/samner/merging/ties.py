"""TIES merging."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from samner.errors import SamnerError
from samner.merging.combine import elected_mean
from samner.merging.registry import SparseMethod, merge_method
from samner.merging.sparsify import Expert, global_threshold, trimmed, trimmed_by_tensor


@merge_method("ties")
@dataclass(frozen=True, kw_only=True)
class Ties(SparseMethod):
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

    scope: str = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope not in ("global", "tensor"):
            raise SamnerError(f"scope must be 'global' or 'tensor', not {self.scope!r}")

    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged ``dW``); global scope makes two passes over each expert first."""
        if self.scope == "tensor":
            return elected_mean(lambda: trimmed_by_tensor(experts, self.density), self.lam)
        limits = [global_threshold(adapter, self.density) for adapter, _ in experts]
        return elected_mean(lambda: trimmed(experts, limits), self.lam)
