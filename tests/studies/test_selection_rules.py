from __future__ import annotations

import numpy as np

from studies.selection_rules import choose


def test_a_rule_is_judged_on_the_domain_that_did_not_choose_it() -> None:
    domain = ["a", "a", "b", "c"]
    scores = {"steady": np.array([5.0, 5.0, 5.0, 5.0]), "lucky": np.array([50.0, 50.0, 0.0, 0.0])}
    chosen, had = choose(domain, scores)
    assert chosen == {"a": "steady", "b": "lucky", "c": "lucky"}
    assert had.tolist() == [5, 5, 0, 0]
