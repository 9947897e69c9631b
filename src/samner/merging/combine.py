"""From the experts' sparse values to one: their weighted mean, or the mean of those that agree on a sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from samner.merging.engine import Engine
from samner.merging.registry import TileRule
from samner.merging.tiles import Part, TaskVectors, Tile

Sparsify: TypeAlias = Callable[[Part, Tile], Part]
"""Sets some of an expert's values on a tile to zero, in place or not, and may scale the others."""


def average(vectors: TaskVectors, sparsify: Sparsify, lam: float) -> TileRule:
    """By position ``lam * sum_i(w_i x_i) / sum_i(w_i)``; an expert that does not adapt a module counts as zero."""
    scale = lam / sum(weight for _, weight in vectors.experts)

    def rule(tile: Tile) -> Tensor:
        return _mass([sparsify(part, tile) for part in vectors.parts(tile)], vectors.engine).mul_(scale)

    return rule


def elect(vectors: TaskVectors, sparsify: Sparsify, lam: float) -> TileRule:
    """By position ``lam`` times the weighted mean of the values of the elected sign, zeros left out.

    The sign is elected by mass, ``sign(sum_i w_i x_i)``. Where values cancel to exactly zero it is the sign that most
    positions of the whole task vector have, or negative if there are as many of each: the rule of the original code.
    A pass counts those first; in a model of billions of values there always are some that cancel.
    """

    def sparse(tile: Tile) -> list[Part]:
        return [sparsify(part, tile) for part in vectors.parts(tile)]

    majority = -1
    if len(vectors.experts) > 1:  # one alone has nothing to cancel
        tiles = vectors.tiles(vectors.modules, "votes")
        balance = sum(int(_mass(sparse(tile), vectors.engine).sign_().sum(dtype=torch.float64)) for tile in tiles)
        majority = 1 if balance > 0 else -1
    return lambda tile: _elected_mean(sparse(tile), majority, vectors.engine).mul_(lam)


def _mass(parts: Sequence[Part], engine: Engine) -> Tensor:
    """``sum_i(w_i x_i)``."""
    mass = engine.buffer("mass", parts[0].values.shape).zero_()
    for part in parts:
        mass.add_(part.values, alpha=part.weight)
    return mass


def _elected_mean(parts: Sequence[Part], majority: int, engine: Engine) -> Tensor:
    """By position the weighted mean of the values of the elected sign; ``majority`` is for where there is none.

    Written without masks, with which torch is slow on a CPU.
    """
    # a whole mass decides, a half one where there is none
    sign = _mass(parts, engine).sign_().add_(majority / 2).sign_()
    total = engine.buffer("total", sign.shape).zero_()
    votes = engine.buffer("votes", sign.shape).fill_(torch.finfo(torch.float32).tiny)  # never 0 / 0
    for part in parts:
        agreeing = part.values.mul_(sign).relu_()
        total.add_(agreeing, alpha=part.weight)
        votes.add_(agreeing.sign_(), alpha=part.weight)
    return total.mul_(sign).div_(votes)
