"""Tables: what is in a cell, and which one is marked."""

from __future__ import annotations

import pytest

from samner.benchmark.report import tables
from samner.benchmark.report.document import Table
from samner.benchmark.report.view import View, signed
from tests.benchmark.report.small import arm, full, score, small


def cells(table: Table | None) -> dict[str, list[str]]:
    assert table is not None
    return {row[0].text: [cell.text for cell in row[1:]] for _, rows in table.parts for row in rows}


def marked(table: Table) -> dict[str, list[bool]]:
    return {row[0].text: [cell.tone == "best" for cell in row[1:]] for _, rows in table.parts for row in rows}


def test_the_best_of_a_column_is_bold_and_ceilings_do_not_compete() -> None:
    view = View(small(arm("base", 20, 31), arm("union", 25, 30), arm("subset", 40, 40, mode="oracle", experts=1)))
    table = tables.scores(view, view.main, "strict", "scores")
    assert table.header == ["arm", "mean both (2)", "a", "b"]
    assert cells(table) == {
        "base": ["25.5", "20.0", "31.0"],
        "union": ["27.5", "25.0", "30.0"],
        "subset": ["40.0", "40.0", "40.0"],
    }
    assert marked(table) == {
        "base": [False, False, True],
        "union": [True, True, False],
        "subset": [False, False, False],
    }
    assert [title for title, _ in table.parts] == [
        "References",
        "Selected and merged",
        "Ceilings: experts chosen by test labels",
    ]
    assert cells(tables.headline(view))["union"] == ["27.5", "28.5"]


def test_equal_scores_are_both_bold() -> None:
    view = View(small(arm("base", 20, 30), arm("union", 20, 30)))
    assert all(all(row) for row in marked(tables.scores(view, view.main, "string", "scores")).values())


def test_arms_with_seeds_show_their_mean_and_spread() -> None:
    view = View(small(arm("random", (20.0, 22.0), (30.0, 34.0))))
    (((name, average, first, _),),) = (rows for _, rows in tables.scores(view, view.main, "strict", "x").parts)
    assert name.note == "mean of 2 seeds"
    assert first.text == "21.0 \N{PLUS-MINUS SIGN} 1.4" and first.note == "[19.0, 23.0]"
    assert average.text == "26.5 \N{PLUS-MINUS SIGN} 2.1"


def test_the_interval_of_an_average_is_narrower_than_its_targets() -> None:
    view = View(small(arm("union", 20, 30, 40, 50)))
    assert view.arms["union"].interval(view.judged) == (pytest.approx(34), pytest.approx(36))


def test_unseen_types_stand_beside_all() -> None:
    results = small(arm("union", 20, 30))
    assert tables.unseen(View(results)) is None
    results["arms"][0]["targets"]["b"][0]["unseen"] = {"strict": score(10), "string": score(12)}
    assert cells(tables.unseen(View(results))) == {"union": ["15.0", "20.0", "10.0", "16.5", "21.0", "12.0"]}
    results["targets"]["a"]["unseen"] = []
    assert cells(tables.unseen(View(results))) == {"union": ["10.0", "10.0", "12.0", "12.0"]}


def test_differences_are_signed_and_bold_where_sure() -> None:
    row = {"a": "union", "b": "base", "score": "strict", "difference": -0.6, "ci95": [-1.0, -0.04], "p": 0.0004}
    view = View(small(arm("union", 20, 30), comparisons=[row | {"target": "a"}]))
    table = tables.comparisons(view, "strict")
    assert table is not None
    _, average, first, second = table.parts[0][1][0]
    assert (first.text, first.tone) == ("\N{MINUS SIGN}0.6", "best")
    assert first.note == "[\N{MINUS SIGN}1.0, 0.0], p < 0.001"
    assert average.text == second.text == ""
    assert tables.comparisons(view, "string") is None


def test_published_figures_stand_apart() -> None:
    published = [
        {"name": "big", "source": "a paper", "scores": {"a": 50.0, "b": 60.0}},
        {"name": "part", "source": "a page", "scores": {"b": 10.0}},
    ]
    table = tables.published(View(small(arm("base", 30, 40), arm("stem", 35, 45, mode="expert"), published=published)))
    assert cells(table) == {
        "base": ["36.0", "31.0", "41.0"],
        "big": ["55.0", "50.0", "60.0"],
        "part": ["", "", "10.0"],
    }


def test_chosen_experts_are_those_of_the_task_models() -> None:
    picks = {"similarity": {"x": 1.0}, "sampling": {"y": 1.0}}
    results = small(
        arm("union", 20, 30, picks=picks), arm("x", 10, 20, mode="expert"), arm("y", 12, 18, mode="expert")
    )
    results["targets"]["a"] |= {"similarity": {"x": 0.5, "y": 0.9}, "sampling": {"x": 0.1, "y": 0.7}, "warning": "far"}
    table = tables.chosen(View(results))
    assert cells(table)["a"] == [
        *("x\N{NO-BREAK SPACE}0.50", "y\N{NO-BREAK SPACE}0.70", "3", "y\N{NO-BREAK SPACE}12.0", "1.5", "")
    ]
    assert table is not None and table.parts[0][1][0][-1].note == "warning: far"


def test_equal_sampling_scores_are_ranked_by_similarity() -> None:
    results = small(arm("union", 30, 40))
    results["targets"]["a"] |= {
        "similarity": {"x": 0.1, "y": 0.9, "z": 0.5},
        "sampling": {"x": 0.5, "y": 0.5, "z": 0.8},
    }
    assert View(results).ranking("a", "sampling") == ["z", "y", "x"]


def test_choices_are_held_against_every_subset() -> None:
    # similarity takes x, sampling y, on both targets
    assert cells(tables.oracle(View(full()))) == {
        "subset": ["40.0", "30.0", "2", "35.0 (place 1.5)", "25.0 (place 1.5)"]
    }


def test_cost_counts_models_and_texts() -> None:
    table = tables.cost(View(small(arm("base", 20, 30), arm("union", 20, 30))))
    assert cells(table) == {"base": ["25.0", "1.0", "1.0", "4", "50"], "union": ["25.0", "2.0", "1.0", "4", "50"]}


@pytest.mark.parametrize(("value", "text"), [(1.25, "+1.2"), (-1.26, "\N{MINUS SIGN}1.3"), (-0.04, "0.0"), (0, "0.0")])
def test_signed(value: float, text: str) -> None:
    assert signed(value) == text
