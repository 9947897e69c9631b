"""Matrices as products of low rank, and how much is lost by it."""

from __future__ import annotations

import torch
from torch import Tensor

from samner.lora import LoraFactors

# for an error within a percent or so of the least possible, also where singular values hardly decay
_ITERATIONS = 3
_OVERSAMPLING = 16
_OVERSAMPLED = 8  # and one more for so many ranks
_CHUNK = 1 << 20  # values

Pair = tuple[Tensor, Tensor]
"""``b`` (out, rank) and ``a`` (rank, in); what they stand for is their product."""


def truncate(dense: Tensor, rank: int) -> Pair:
    """The best approximation of a matrix by a randomised SVD, the same every time; exact if the rank allows it."""
    rows, columns = dense.shape
    if rank >= columns:
        return dense, torch.eye(columns)
    if rank >= rows:
        return torch.eye(rows), dense
    q = min(rank + _OVERSAMPLING + rank // _OVERSAMPLED, rows, columns)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        u, s, v = torch.svd_lowrank(dense, q=q, niter=_ITERATIONS)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, (v[:, :rank] * root).T


def truncate_product(factors: LoraFactors, rank: int) -> Pair:
    """The best approximation of a product, in float64 and without making it; exact if the rank allows it."""
    b, a = _exact(factors)
    if rank >= factors.rank:
        return b, a
    left, upper_left = torch.linalg.qr(b)
    right, upper_right = torch.linalg.qr(a.T)
    u, s, vt = torch.linalg.svd(upper_left @ upper_right.T, full_matrices=False)
    root = s[:rank].sqrt()
    return left @ (u[:, :rank] * root), (root[:, None] * vt[:rank]) @ right.T


def loss(dense: Tensor, pair: Pair) -> tuple[float, float]:
    """The squared norms of a matrix and of its difference to a product.

    The difference is made, a few rows at a time: as the difference of the two norms a small one would be all rounding.
    """
    b, a = pair
    rows = max(1, _CHUNK // dense.shape[1])
    norm = lost = 0.0
    for part, b_part in zip(dense.split(rows), b.split(rows), strict=True):
        difference = torch.addmm(part, b_part.float(), a.float(), alpha=-1)
        norm += float(torch.dot(part.flatten(), part.flatten()))
        lost += float(torch.dot(difference.flatten(), difference.flatten()))
    return norm, lost


def product_loss(factors: LoraFactors, pair: Pair) -> tuple[float, float]:
    """The same for a matrix that is a product itself, which is not made."""
    b, a = _exact(factors)
    both = torch.cat([b, -pair[0].double()], dim=1), torch.cat([a, pair[1].double()])
    return _squared(b, a), max(0.0, _squared(*both))


def _exact(factors: LoraFactors) -> Pair:
    return factors.b.cpu().double() * factors.scale, factors.a.cpu().double()


def _squared(b: Tensor, a: Tensor) -> float:
    """``|b a|^2 = <b^T b, a a^T>``."""
    return float(((b.T @ b) * (a @ a.T)).sum())
