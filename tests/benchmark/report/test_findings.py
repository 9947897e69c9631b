"""Goals and facts: the numbers a reader takes away."""

from __future__ import annotations

from typing import Any

import pytest

from samner.benchmark.report.findings import facts, goals
from samner.benchmark.report.view import View
from tests.benchmark.report.small import arm, small


def said(found: Any) -> list[tuple[bool | None, str]]:
    return [(finding.met, f"{finding.text} {finding.detail}".strip()) for finding in found]


def test_a_gain_that_is_missed_says_by_how_much() -> None:
    results = small(arm("unified", 20, 30), arm("union", 22, 30))
    met, text = said(goals(View(results)))[0]
    assert met is False
    assert "26.0 strict F1, unified 25.0: +4.0 % relative" in text
    assert "27.5 would be needed, 1.5 points more" in text


def test_a_gain_that_is_met() -> None:
    met, text = said(goals(View(small(arm("unified", 20, 30), arm("union", 24, 34)))))[0]
    assert met is True and "+16.0 %" in text and "needed" not in text


def test_a_unified_model_that_finds_nothing_has_no_relative_gain() -> None:
    met, text = said(goals(View(small(arm("unified", 0, 0), arm("union", 24, 34)))))[0]
    assert met is True and "unified 0.0. Goal" in text


def test_targets_more_than_a_point_below_unified() -> None:
    results = small(arm("unified", 20, 30, 40), arm("union", 18.5, 29.2, 45))
    met, text = said(goals(View(results)))[1]
    assert met is False
    assert "1 of 3 targets is more than 1 point below unified: a (\N{MINUS SIGN}1.5)." in text
    assert "ahead of unified on 1 of 3" in text
    met, text = said(goals(View(small(arm("unified", 20, 30), arm("union", 19.5, 31)))))[1]
    assert met is True and text.startswith("No target")


@pytest.mark.parametrize(("economy", "met"), [(29.2, True), (28.8, False)])
def test_economy_within_a_point_of_the_union(economy: float, met: bool) -> None:
    found = said(goals(View(small(arm("union", 30, 30), arm("economy", economy, economy)))))
    assert [verdict for verdict, text in found if text.startswith("Economy")] == [met]


def test_the_string_goal_says_what_is_missing() -> None:
    (_, text), *_ = [one for one in said(goals(View(small(arm("union", 30, 40))))) if "UniversalNER" in one[1]]
    assert "averages 36.0" in text and "11.5 points are missing" in text


def test_auto_k_against_the_best_fixed_k() -> None:
    fixed = [arm(f"union k={k}", f1, f1, group="k", x=k, experts=k) for k, f1 in ((1, 20), (2, 25), (3, 24))]
    auto = arm("auto", 24.5, 24.5, group="beyond", mode="union", experts="auto")
    met, text = next(one for one in said(goals(View(small(*fixed, auto)))) if "fixed k" in one[1])
    assert met is False and "the best fixed k (2) 25.0: it is 0.5 points below that" in text


def test_auto_k_on_other_texts_is_not_compared() -> None:
    fixed = arm("union k=1", 20, 20, group="k", x=1, experts=1)
    auto = arm("auto", 24.5, 24.5, group="beyond", mode="union", experts="auto")
    for runs in auto["targets"].values():
        runs[0]["strict"]["fn"] += 1
    (met, text), *_ = [one for one in said(goals(View(small(fixed, auto)))) if "fixed k" in one[1]]
    assert met is None and "not compared" in text


def test_what_the_oracle_says() -> None:
    results = small(
        arm("unified", 30, 30),
        arm("similarity", 24, 26, picks={"similarity": {"x": 1.0}}),
        arm("sampling", 20, 22, picks={"sampling": {"y": 1.0}}),
        arm("union", 25, 27),
        arm("best", 32, 30, mode="oracle-single"),
        arm("subset", 28, 30, mode="oracle", experts=1),
        oracle={"texts": 100, "subsets": {"subset": {"a": {"x": 0.24, "y": 0.28}, "b": {"x": 0.30, "y": 0.20}}}},
    )
    text = "\n".join(text for _, text in said(facts(View(results))))
    assert "Selection loses 4.0 points: the best 1 experts by test labels, merged, reach 29.0" in text
    assert "best merge of 1 is 2.0 points below the best single expert (29.0 against 31.0)" in text
    assert "is 31.0; 10 % above unified is 33.0, so the experts themselves have to know more" in text
    assert "similarity picks, on average, number 1.5 of the 2 subsets" in text
    assert "sampling picks, on average, number 1.5 of the 2 subsets" in text
    assert "between a subset at random (25.5) and the best (29.0)" in text


def test_a_selection_as_good_as_the_oracle_loses_nothing() -> None:
    results = small(arm("similarity", 30, 30), arm("subset", 30, 29, mode="oracle", experts=1))
    text = "\n".join(text for _, text in said(facts(View(results))))
    assert "Selection loses nothing" in text


def test_how_often_the_signals_see_the_best_expert() -> None:
    results = small(arm("x", 30, 10, mode="expert", name="x"), arm("y", 20, 20, mode="expert", name="y"))
    for target in results["targets"].values():
        target["similarity"] = {"x": 0.9, "y": 0.1}
    text = "\n".join(text for _, text in said(facts(View(results))))
    assert "By similarity, the best expert of a target is among the first 1 on 1 of 2 targets (chance: 1.0)" in text
    assert "By sampling" not in text


def test_warnings_are_held_against_what_came_of_them() -> None:
    results = small(arm("union", 30, 2, 40))
    assert not any("warning" in text for _, text in said(facts(View(results))))
    results["targets"]["b"]["warning"] = "no expert is close"
    text = "\n".join(text for _, text in said(facts(View(results))))
    assert "A warning was given for b: union averages 2.0 there, 35.0 on the others." in text


def test_equal_sampling_scores_are_ranked_by_similarity() -> None:
    results = small(arm("union", 30, 40))
    results["targets"]["a"] |= {
        "similarity": {"x": 0.1, "y": 0.9, "z": 0.5},
        "sampling": {"x": 0.5, "y": 0.5, "z": 0.8},
    }
    assert View(results).ranking("a", "sampling") == ["z", "y", "x"]


def test_shares_of_what_is_found() -> None:
    counts = {
        "gold": {"both": 10, "similarity": 6, "sampling": 4, "neither": 30},
        "false": {"both": 10, "similarity": 20, "sampling": 10},
    }
    results = small(arm("union", 30, 40), complementarity={"a": counts, "b": counts})
    text = "\n".join(text for _, text in said(facts(View(results))))
    assert "both strategies find 20.0 %, similarity alone 12.0 %, sampling alone 8.0 %, neither 60.0 %" in text
    assert "alone claims is right in 25 % of cases, what both claim in 50 %" in text


def test_significance_is_counted_by_target() -> None:
    row = {"a": "union", "b": "unified", "score": "strict", "ci95": [-1, 1]}
    rows = [
        row | {"target": "a", "difference": 2.0, "p": 0.01},
        row | {"target": "b", "difference": -1.0, "p": 0.04},
        row | {"target": "both", "difference": 0.5, "p": 0.3},
    ]
    (_, text), *_ = said(facts(View(small(arm("union", 30, 40), arm("unified", 28, 41), comparisons=rows))))
    assert "+0.5 points on average" in text and "better on a; worse on b" in text


def test_the_best_arm_is_named_unless_it_is_the_union() -> None:
    arms = [arm("union", 30, 40), arm("economy", 32, 40), arm("subset", 50, 50, mode="oracle", experts=1)]
    assert any("economy's: 36.0, 1.0 points above union." in text for _, text in said(facts(View(small(*arms)))))
    arms[1] = arm("economy", 28, 40)
    assert not any("highest average" in text for _, text in said(facts(View(small(*arms)))))
