"""From the experts' sparse values to one: their weighted mean, or the mean of those that agree on a sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from samner.merging.registry import TileRule
from samner.merging.task_vectors import Engine, Part, TaskVectors, Tile

Sparsify: TypeAlias = Callable[[Part, Tile], Part]
"""Sets some of an expert's values on a tile to zero, in place or not, and may scale the others."""


def average(vectors: TaskVectors, sparsify: Sparsify, lam: float) -> TileRule:
    """By position ``lam * sum_i(w_i x_i) / sum_i(w_i)``; an expert that does not adapt a module counts as zero."""
    whole = sum(weight for _, weight in vectors.experts)

    def rule(tile: Tile) -> Tensor:
        parts = [sparsify(part, tile)._replace(weight=lam * part.weight / whole) for part in vectors.parts(tile)]
        return mass(parts, vectors.engine)

    return rule


def elect(vectors: TaskVectors, sparsify: Sparsify, lam: float) -> TileRule:
    """By position ``lam`` times the weighted mean of the values of the elected sign, zeros left out.

    The sign is elected by mass, ``sign(sum_i w_i x_i)``. Where values cancel to exactly zero it is the sign that most
    positions of the whole task vector have, or negative if there are as many of each: the rule of the original code.
    A pass counts those first; in a model of billions of values there always are some that cancel.
    """

    def sparse(tile: Tile) -> list[Part]:
        return [sparsify(part, tile) for part in vectors.parts(tile)]

    balance = 0
    if len(vectors.experts) > 1:  # one alone has nothing to cancel
        tiles = vectors.tiles(vectors.modules, "votes")
        balance = sum(sign_balance(sparse(tile), vectors.engine) for tile in tiles)
    return lambda tile: elected_mean(sparse(tile), balance, vectors.engine).mul_(lam)


def mass(parts: Sequence[Part], engine: Engine) -> Tensor:
    """``sum_i(w_i x_i)``."""
    first, *others = parts
    total = torch.mul(first.values, first.weight, out=engine.buffer("mass", first.values.shape))
    for part in others:
        total.add_(part.values, alpha=part.weight)
    return total


def sign_balance(parts: Sequence[Part], engine: Engine) -> int:
    """How many more positions elect plus than minus."""
    return int(mass(parts, engine).sign_().sum())  # exact: no tile has more values than float32 has whole numbers


def elected_mean(parts: Sequence[Part], balance: int, engine: Engine) -> Tensor:
    """By position the weighted mean of the values of the elected sign, written over the parts.

    Written without masks, with which torch is slow on a CPU.

    Args:
        parts: The experts' values.
        balance: Decides by its sign where they cancel; see ``elect``.
        engine: Where to compute.
    """
    # a whole mass decides, the half one where there is none
    sign = mass(parts, engine).sign_().add_(0.5 if balance > 0 else -0.5).sign_()
    total = engine.buffer("total", sign.shape).zero_()
    votes = engine.buffer("votes", sign.shape).fill_(torch.finfo(torch.float32).tiny)  # never 0 / 0
    for part in parts:
        agreeing = part.values.mul_(sign).relu_()
        total.add_(agreeing, alpha=part.weight)
        votes.add_(agreeing.sign_(), alpha=part.weight)
    return total.mul_(sign).div_(votes)
