from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samner.calibration import Calibrated, Reliability, calibrate
from samner.entities import Entity, Example, entity_types
from samner.errors import SamnerError
from samner.scoring import micro_f1
from samner.task_model import Merge, TaskModel

Make = Callable[..., Any]
NAMES = ("city", "river", "song")


@pytest.fixture
def world(lookup_backbone: Make) -> tuple[TaskModel, list[Example]]:
    """A model that is too sure of cities, and more so of rivers: of a score s, s ** 1.5 and s ** 3 are right."""
    chance = random.Random(0)
    phrases, examples = {}, []
    for i in range(160):
        words = [f"w{i}x{j}" for j in range(5)]
        text, gold, start = " ".join(words), [], 0
        for j, word in enumerate(words):
            label, score = NAMES[j % 2], chance.uniform(0.13, 0.99)
            phrases[word] = (label, score)
            if chance.random() < (score**1.5 if label == "city" else score**3):
                gold.append(Entity(start, start + len(word), label))
            start += len(word) + 1
        examples.append(Example(text, (*gold, Entity(0, len(text), "poem"))))
    model = TaskModel(
        lookup_backbone({"one": phrases}),
        Path("base"),
        entity_types(NAMES),
        "similarity",
        {"similarity": Merge({"a": 1.0}, "one")},
        {},
    )
    return model, examples


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_scores_come_to_mean_the_share_that_is_right(world: tuple[TaskModel, list[Example]], method: str) -> None:
    model, examples = world
    found = calibrate(replace(model, threshold=0.2), examples, method=method)
    assert found.before.error > 0.1 > 0.06 > found.after.error
    assert found.after.brier < found.before.brier
    assert found.f1_after > found.f1_before
    assert (found.texts, found.entities) == (160, 800)
    assert found.model.calibration is not None
    assert set(found.model.calibration.curves) == set(found.model.thresholds) == {"city", "river"}
    assert found.model.calibration.of("city")(0.7) == pytest.approx(0.7**1.5, abs=0.12)
    assert found.model.calibration.of("river")(0.7) == pytest.approx(0.7**3, abs=0.12)
    assert model.calibration is None and model.threshold == 0.5


def test_a_threshold_is_compared_with_the_score_that_is_shown(world: tuple[TaskModel, list[Example]]) -> None:
    model, examples = world
    texts = [example.text for example in examples]
    calibrated = calibrate(model, examples).model
    every = calibrated.predict(texts, threshold=0.01)
    assert sum(map(len, every)) == 800
    for threshold in (0.3, 0.55, {"city": 0.7, "river": 0.2}):
        limits = threshold if isinstance(threshold, dict) else dict.fromkeys(NAMES, threshold)
        some = calibrated.predict(texts, threshold=threshold)
        assert some == [[e for e in its if e.score >= limits[e.label]] for its in every]
    own = calibrated.predict(texts)
    assert own == [
        [e for e in its if e.score >= calibrated.thresholds.get(e.label, calibrated.threshold)] for its in every
    ]
    gold = [example.entities for example in examples]
    assert micro_f1(gold, own, NAMES) > micro_f1(gold, model.predict(texts), NAMES)


def test_calibrating_again_starts_from_the_models_own_scores(world: tuple[TaskModel, list[Example]]) -> None:
    model, examples = world
    once: Calibrated = calibrate(model, examples)
    twice = calibrate(once.model, examples)
    assert twice.model.calibration is not None and once.model.calibration is not None
    assert twice.model.calibration.curves == once.model.calibration.curves
    assert twice.f1_before >= once.f1_before and twice.f1_after == once.f1_after


def test_the_reliability_of_scores() -> None:
    import numpy as np

    its = Reliability.of(np.array([0.2, 0.2, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 1.0]))
    assert its.bins == ((0.2, 0.5, 2), (0.95, 1.0, 2))
    assert its.error == pytest.approx((0.3 * 2 + 0.05 * 2) / 4)
    assert its.brier == pytest.approx((0.04 + 0.64 + 0.01) / 4)


def test_what_cannot_be_calibrated_on(world: tuple[TaskModel, list[Example]], monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = world
    poems = [Example(e.text, tuple(x for x in e.entities if x.label == "poem")) for e in examples]
    few = [e for e in examples if len(e.entities) > 1][:6]
    for texts, options, message in (
        (examples, {"method": "beta"}, "method must be platt or isotonic, not 'beta'"),
        (poems, {}, r"labels \(city, river, song\); there are: poem"),
        (few[:3], {}, "by 5 folds needs at least 5 labelled texts, and there are 3"),
        (few, {}, r"too little to calibrate on: \d+ right and \d+ wrong"),
        (examples, {"floor": 0}, "floor must lie between 0 and 1"),
    ):
        with pytest.raises(SamnerError, match=message):
            calibrate(model, texts, **options)
    backwards = [
        Example(e.text, tuple(Entity(m.start(), m.end(), label) for m, label in its))
        for e in examples
        for its in [
            [
                (m, label)
                for m in re.finditer(r"\S+", e.text)
                for label, score in [model.backbone.phrases["one"][m[0]]]
                if score < 0.5
            ]
        ]
    ]
    with pytest.raises(SamnerError, match="right ones must score higher"):
        calibrate(model, backwards)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SamnerError, match=r"pip install 'samner\[calibrate\]'"):
        calibrate(model, examples)
