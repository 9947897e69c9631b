from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.entities import Entity, entity_types
from samner.errors import SamnerError
from samner.thresholds import Calibration, Curve, by_label, counting, least_score

TYPES = entity_types(["drug", "disease"])
shares = st.floats(0, 1, width=32)
positive = st.floats(0.0009765625, 1, width=32)
curves = st.lists(st.tuples(positive, shares), min_size=2, max_size=9, unique_by=lambda point: point[0]).map(
    lambda points: Curve(tuple(sorted(x for x, _ in points)), tuple(sorted(y for _, y in points)))
)


def test_a_threshold_for_all_for_some_and_of_the_model() -> None:
    assert by_label(None, TYPES, 0.5, {"drug": 0.2, "river": 0.1}) == {"drug": 0.2, "disease": 0.5}
    assert by_label(0.3, TYPES, 0.5, {"drug": 0.2}) == {"drug": 0.3, "disease": 0.3}
    assert by_label({"disease": 0.3}, TYPES, 0.5, {"drug": 0.2}) == {"drug": 0.2, "disease": 0.3}


def test_wrong_thresholds() -> None:
    with pytest.raises(SamnerError, match="threshold names the label 'river'; the labels are drug, disease"):
        by_label({"river": 0.5}, TYPES, 0.5, {})
    with pytest.raises(SamnerError, match="threshold of 'drug' must lie between 0 and 1 .exclusive., not 1"):
        by_label({"drug": 1}, TYPES, 0.5, {})


@given(curves, shares, shares)
def test_a_curve_never_falls_and_leads_back(curve: Curve, one: float, other: float) -> None:
    assert curve(min(one, other)) <= curve(max(one, other)) + 1e-9
    score = curve.score_of(one)
    if score is None:
        assert curve(1.0) < one
    else:
        assert curve(score) >= one - 1e-6
        assert score == curve.scores[0] or curve(score - 0.01) <= one + 1e-6


@given(curves, st.lists(positive, max_size=9), st.floats(0.01, 0.99))
def test_no_entity_that_counts_is_missing_from_what_is_asked_for(
    curve: Curve, scores: list[float], threshold: float
) -> None:
    calibration, limits = Calibration(curve), {"drug": threshold}
    found = [Entity(i, i + 1, "drug", score) for i, score in enumerate(scores)]
    below_the_first = [e for e in found if e.score >= curve.scores[0]]
    asked = [e for e in below_the_first if e.score >= least_score(limits, calibration)]
    assert counting(asked, limits, calibration) == counting(below_the_first, limits, calibration)
    assert all(e.score >= threshold for e in counting(found, limits, calibration))


def test_a_score_that_equals_its_threshold_counts_in_the_digits_of_models() -> None:
    shown = Entity(0, 1, "drug", float(np.float32(0.7)))  # a little less than 0.7
    assert counting([shown], {"drug": 0.7}, None) == counting([shown], {"drug": 0.7, "disease": 0.2}, None) == [shown]
    assert counting([shown], {"drug": 0.7001}, None) == []


def test_each_label_has_its_curve_and_its_threshold() -> None:
    calibration = Calibration(Curve((0.0, 1.0), (0.0, 0.5)), {"drug": Curve((0.2, 1.0), (0.6, 1.0))})
    found = [Entity(0, 1, "drug", 0.2), Entity(1, 2, "disease", 0.8), Entity(2, 3, "disease", 0.2)]
    shown = counting(found, {"drug": 0.5, "disease": 0.3}, calibration)
    assert [(e.label, e.score) for e in shown] == [("drug", 0.6), ("disease", 0.4)]
    assert least_score({"drug": 0.5, "disease": 0.3}, calibration) == pytest.approx(0.2, abs=1e-5)
    assert Calibration.from_dict(calibration.to_dict()) == calibration


@pytest.mark.parametrize(
    "points", [((0.1,), (0.1,)), ((0.1, 0.2), (0.5, 0.4)), ((0.2, 0.2), (0.1, 0.2)), ((0.1, 0.2), (0.1, 2)), ((), ())]
)
def test_what_is_no_curve_is_refused(points: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(SamnerError, match="calibration"):
        Curve(*points)
