"""KnOTS: TIES in a basis that the experts share, without a dense matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samner.lora import LoraFactors
from samner.merging.consensus import elected_mean, sign_balance
from samner.merging.registry import LowRankMethod, SparseMethod, merge_method
from samner.merging.task_vectors import Part, TaskVectors

_RANK_TOLERANCE = torch.finfo(torch.float32).eps
"""Singular values below this share of the largest are rounding of the factors, no direction of theirs."""


@merge_method("knots")
@dataclass(frozen=True, kw_only=True)
class Knots(SparseMethod, LowRankMethod):
    """KnOTS-TIES: TIES on the coordinates in a shared basis (Stoica et al. 2025, arXiv 2410.19735).

    The SVD of the task vectors side by side, ``[dW_1 ... dW_k] = U S [V_1 ... V_k]^T``, gives each expert's
    coordinates ``C_i = S V_i^T`` in the basis ``U``. These are merged by :class:`Ties`, module by module, to ``C``;
    then ``dW = U C``, whose rank is at most the sum of the experts' ranks.

    As in the authors' code the singular values belong to what is merged. The paper writes them with the basis (TIES
    on ``V_i``, then ``U S``), which trims other values and is the same at density 1. The authors' code takes one
    threshold and one majority sign over all modules, and drops singular values below 1e-5.

    A weight counts as that many copies, in the SVD too: it is that of ``[sqrt(w_1) dW_1 ... sqrt(w_k) dW_k]``.

    Args:
        density: Share of an expert's coordinates in a module that is kept; default 0.2. The authors use 0.2 on
            vision models and 1 on Llama.
        lam: Scale of the result; default 1.0. The authors search for it.
    """

    def factors(self, vectors: TaskVectors, module: str) -> LoraFactors:
        """``U`` and the merged coordinates."""
        basis, coordinates = _shared_basis(vectors.factors(module))
        weights = [weight for weight, _, _ in vectors.factors(module)]
        parts = [
            Part(i, weight, _top(matrix, round(self.density * matrix.numel())).float())
            for i, (weight, matrix) in enumerate(zip(weights, coordinates, strict=True))
        ]
        merged = elected_mean(parts, sign_balance(parts, vectors.engine), vectors.engine)
        return LoraFactors(merged * self.lam, basis.float(), 1.0)


def _shared_basis(experts: Sequence[tuple[float, Tensor, Tensor]]) -> tuple[Tensor, list[Tensor]]:
    """``U`` and each expert's ``U^T dW``, of weights, ``b`` and ``a``; float64.

    ``U`` is ``Q W`` for the QR of the ``b`` side by side and the left singular vectors ``W`` of ``R`` times the ``a``.
    """
    q, r = torch.linalg.qr(torch.cat([b for _, b, _ in experts], dim=1).double())
    inner = [
        block @ a.double()
        for block, (_, _, a) in zip(r.split([len(a) for _, _, a in experts], 1), experts, strict=True)
    ]
    side_by_side = torch.cat([math.sqrt(weight) * c for (weight, _, _), c in zip(experts, inner, strict=True)], dim=1)
    # of a matrix much wider than high the triangle has the same left singular vectors
    triangle = torch.linalg.qr(side_by_side.T, mode="r").R
    w, s, _ = torch.linalg.svd(triangle.T, full_matrices=False)
    w = w[:, : max(1, int((s > _RANK_TOLERANCE * s[0]).sum()))]
    return q @ w, [w.T @ c for c in inner]


def _top(values: Tensor, keep: int) -> Tensor:
    """The values with all but so many of the largest magnitudes set to zero, of equal ones the last."""
    if keep == 0:
        return torch.zeros_like(values)
    magnitudes = values.abs().flatten()
    limit = magnitudes.kthvalue(len(magnitudes) - keep + 1).values
    kept = magnitudes >= limit
    surplus = int(kept.sum()) - keep
    if surplus:
        kept[(magnitudes == limit).nonzero().flatten()[-surplus:]] = False
    return values * kept.view_as(values)
