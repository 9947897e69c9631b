from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from samner.backbones import BASE
from samner.entities import Entity
from samner.lora import LoraAdapter, LoraFactors
from studies import selection_signals as signals


def test_a_claim_that_a_model_does_not_make_has_score_zero() -> None:
    answers = {
        BASE: [[Entity(0, 1, "drug", 0.5)], []],
        "medicine": [[Entity(0, 1, "drug", 0.9)], [Entity(2, 3, "dose", 0.4)]],
    }
    names, scores = signals.claims(answers)
    assert names == [BASE, "medicine"]
    assert scores.tolist() == [[0.5, 0.0], [0.9, 0.4]]


def test_divergence_tells_who_says_the_same() -> None:
    same, other = np.array([0.9, 0.0]), np.array([0.0, 0.9])
    assert signals.divergence(same, same) == pytest.approx(0)
    assert signals.divergence(np.array([1.0]), np.array([0.0])) == pytest.approx(1, abs=1e-6)
    names, scores = [BASE, "a", "b", "c"], np.array([other, same, same, other])
    consensus = signals.far_from_consensus(names, scores)
    assert consensus["a"] == consensus["b"] < consensus["c"]
    base = signals.far_from_base(names, scores)
    assert base["a"] == base["b"] > base["c"] == pytest.approx(0)


def test_who_claims_nothing_is_not_sure() -> None:
    unsure = signals.unsure([BASE, "a", "b"], np.array([[0.5, 0.5], [0.99, 0.0], [0.0, 0.0]]))
    assert unsure["a"] < 0.1
    assert unsure["b"] == 1


def test_equals_share_a_place() -> None:
    assert signals.ranks([3, 1, 1, 2]).tolist() == [3, 0.5, 0.5, 2]
    assert signals.mean_place({"a": 1, "b": 2}, {"a": 9, "b": 3}) == {"a": 0.5, "b": 0.5}
    assert signals.rank_correlation({"a": 1, "b": 2, "c": 3}, {"c": 30, "b": 20, "a": 10}) == pytest.approx(1)
    assert signals.rank_correlation({"a": 1, "b": 1}, {"a": 1, "b": 2}) == 0


class Backbone:
    """Reads any text as one vector."""

    def __init__(self) -> None:
        self.reading = nn.ModuleDict({"first": nn.Linear(4, 4), "query": nn.Linear(4, 2)})
        self.given = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        return {"first": (4, 4), "query": (2, 4)}

    def predict(self, *_: object) -> None:
        self.reading["query"](self.reading["first"](self.given))


def test_activations_are_what_the_task_vectors_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "QUERIES", ("query",))
    backbone = Backbone()
    a, b = torch.randn(2, 4), torch.randn(2, 2)
    adapter = LoraAdapter("x", {"query": LoraFactors(a, b, 2.0)})
    doubled = LoraAdapter("y", {"query": LoraFactors(a, 2 * b, 2.0)})
    found = signals.activations(backbone, {"x": adapter, "y": doubled}, ["one"], [])
    with torch.no_grad():
        x = backbone.reading["first"](backbone.given)
    added = (x @ (2.0 * b @ a).T).norm(dim=-1)
    assert found["x"][0][0] == pytest.approx(float(added.mean()), rel=1e-4)
    relative = added / x.norm(dim=-1) / (2.0 * b @ a).norm()
    assert found["x"][0][1] == pytest.approx(float(relative.mean()), rel=1e-4)
    assert found["y"][0] == pytest.approx((2 * found["x"][0][0], found["x"][0][1]), rel=1e-4)
