from __future__ import annotations

import numpy as np
import pytest

from samner.entities import entity_types
from samner.pool import ExpertCard
from studies.home import FORMER, KINDS, Cases, Limits, choose, looks, nested, report
from studies.selection_rules import Target


def case(domain: str, cosine: float, alone: float, union: float, **others: object) -> dict[str, object]:
    look = {"number": 10, "nearest": domain, "kind": "known", "ahead": 0.3, "types": 0.8, "others": 0.0}
    return {"domain": domain, "name": domain, "cosine": cosine, "alone": alone, "union": union, **look, **others}


def test_limits_are_chosen_by_what_decisions_are_worth() -> None:
    cases = Cases.of([case("a", 0.55, 60, 40), case("a", 0.38, 10, 40), case("b", 0.6, 60, 40)])
    limits = choose(cases)
    assert limits.both == 1.35  # the strictest that takes both that gain by it
    assert cases.at_home(limits).tolist() == [True, False, True]
    assert cases.mean(cases.f1(cases.at_home(limits))) == (50 + 60) / 2  # domains count alike


def test_texts_make_up_for_names_in_a_sum_and_not_in_limits_of_each() -> None:
    cases = Cases.of([case("a", 0.9, 60, 40, types=0.5), case("a", 0.9, 60, 40, types=0.5, ahead=0.05)])
    assert cases.at_home(Limits(1.4, 0.1)).tolist() == [True, False]
    assert not cases.at_home(FORMER).any()


def test_what_others_know_better_is_nobodys() -> None:
    cases = Cases.of([case("a", 0.9, 60, 40, others=0.1), case("a", 0.9, 60, 40, others=0.2)])
    assert cases.at_home(Limits(1.4, 0.1)).tolist() == [True, False]


def test_a_domain_is_judged_by_limits_of_the_others() -> None:
    cases = Cases.of([case("a", 0.5, 60, 40), case("b", 0.6, 60, 40), case("c", 0.55, 10, 40)])
    chosen, taken = nested(cases)
    assert chosen["c"].both == 1.3
    assert chosen["a"].both == 1.4
    assert chosen["b"].both == 1.5  # what takes "a" takes "c", which loses more by it
    assert taken.tolist() == [False, False, True]
    assert np.array_equal(cases.f1(taken), [40, 40, 10])


def test_a_gain_is_over_data_sets() -> None:
    cases = Cases.of([case("a", 0.5, 60, 40), case("b", 0.5, 60, 40), case("c", 0.5, 60, 40)])
    everyone = np.ones(3, dtype=bool)
    assert cases.gain(everyone, ~everyone) == (20, 20, 20)


def test_the_report_counts_who_is_rightly_at_home_and_who_is_wrongly() -> None:
    rows = [case("a", 0.9, 60, 40), case("b", 0.9, 60, 40, nearest="a"), case("a", 0.9, 5, 40, kind="hidden")]
    lines = list(report(Cases.of(rows)))
    (row,) = (line for line in lines if line.startswith("| sum of 1.1, "))
    cells = row.split(" | ")
    assert cells[1 + KINDS.index("known")].endswith("50 %")
    assert cells[1 + KINDS.index("hidden")].endswith("100 %")
    assert cells[1 + KINDS.index("wide")] == ", "


def test_one_expert_that_is_left_is_ahead_of_nobody() -> None:
    card = ExpertCard(name="news", base="base", types=("place",), embedding=(1.0, 0.0))
    target = Target("news", "a", entity_types(["place"]), [], [], ("news",))
    vectors = np.array([[0.6, 0.8]], dtype=np.float32)
    seen = looks(target, vectors, {"news": card}, [1])
    assert {row["nearest"] for row in seen} == {"news"}
    assert seen[0]["ahead"] == np.inf
    assert seen[0]["cosine"] == pytest.approx(0.6)
