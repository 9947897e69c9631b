from __future__ import annotations

import numpy as np

from studies.home import SHIPPED, Cases, choose, nested


def case(domain: str, cosine: float, alone: float, union: float, **others: object) -> dict[str, object]:
    look = {"number": 10, "own": alone > union, "kind": "known", "ahead": 0.3, "types": 1.0}
    return {"domain": domain, "name": domain, "cosine": cosine, "alone": alone, "union": union, **look, **others}


def test_limits_are_chosen_by_what_decisions_are_worth() -> None:
    cases = Cases.of([case("a", 0.55, 60, 40), case("a", 0.38, 10, 40), case("b", 0.6, 60, 40)])
    limits = choose(cases)
    assert limits.texts == 0.5  # the strictest that takes both that gain by it
    assert cases.at_home(limits).tolist() == [True, False, True]
    assert cases.mean(cases.f1(cases.at_home(limits))) == (50 + 60) / 2  # domains count alike
    assert cases.at_home(SHIPPED).tolist() == [True, False, True]


def test_a_domain_is_judged_by_limits_of_the_others() -> None:
    cases = Cases.of([case("a", 0.5, 60, 40), case("b", 0.6, 60, 40), case("c", 0.55, 10, 40)])
    chosen, taken = nested(cases)
    assert chosen["c"].texts == 0.5
    assert chosen["a"].texts == 0.6
    assert taken.tolist() == [False, True, True]
    assert np.array_equal(cases.f1(taken), [40, 60, 10])
