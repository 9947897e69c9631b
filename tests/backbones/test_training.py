from __future__ import annotations

import numpy as np
import pytest

from samner.backbones import TrainingData, TrainingRecipe, TrainingSet
from samner.backbones.training import identity, reworded, safe_negatives
from samner.embedding import encode
from samner.entities import Example, entity_types

MEDICINE = TrainingSet("medicine", [Example("Aspirin helps.", ())], entity_types(["drug", "disease"]))


class TestSafeNegatives:
    def test_types_like_an_own_type_are_no_negatives(self) -> None:
        foreign = ["medication", "illness", "river", "football club", "drug"]
        assert safe_negatives(MEDICINE, foreign, 0.5) == ["river", "football club"]

    def test_the_limit_is_a_cosine(self) -> None:
        foreign = ["medication", "river"]
        closest = float((encode(["medication"]) @ encode(["drug", "disease"]).T).max())
        assert safe_negatives(MEDICINE, foreign, closest + 1e-4) == foreign
        assert safe_negatives(MEDICINE, foreign, closest - 1e-4) == ["river"]

    def test_own_types_and_none_at_all(self) -> None:
        assert safe_negatives(MEDICINE, ["drug", "disease"], 2.0) == []
        assert safe_negatives(MEDICINE, [], 2.0) == []


def test_another_wording_as_often_as_asked() -> None:
    ways, rng = {"city": ["town", "settlement"]}, np.random.default_rng(0)
    said = [reworded("city", ways, 0.5, rng) for _ in range(400)]
    assert said.count("city") == pytest.approx(200, abs=40)
    assert said.count("town") == pytest.approx(100, abs=40)
    assert {reworded("river", ways, 1.0, rng) for _ in range(9)} == {"river"}
    assert {reworded("city", ways, 0.0, rng) for _ in range(9)} == {"city"}


def test_a_run_is_known_by_all_that_decides_it_but_not_by_its_time_box() -> None:
    data, recipe = TrainingData([MEDICINE]), TrainingRecipe(steps=3)
    same = identity(data, recipe, "base")
    assert identity(data, TrainingRecipe(steps=3, max_minutes=2.0), "base") == same
    others = [
        identity(data, TrainingRecipe(steps=4), "base"),
        identity(data, recipe, "another base"),
        identity(TrainingData([MEDICINE], dev=[MEDICINE]), recipe, "base"),
    ]
    assert len({same, *others}) == 4
