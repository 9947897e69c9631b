from __future__ import annotations

import numpy as np

from studies.warning import choose, far, ranked, table, wrong


def row(name: str, cosine: float, types: float, f1: float, **others: object) -> dict[str, object]:
    values = {
        "group": "hidden",
        "domain": name,
        "nearest": "news",
        "number": 4,
        "unknown": 0.5,
        "home": False,
        "similarity": ["news"],
        "sampling": ["legal", "news"],
        "warnings": [],
        "agreement": 0.5,
        "both": 0.5,
        "score": 0.5,
        "found": 1.0,
    }
    return {"set": name, "cosine": cosine, "types": types, "f1": f1, **values, **others}


ROWS = [
    row("a", 0.3, 0.5, 5, warnings=["no expert is close to this domain"]),
    row("b", 0.3, 0.8, 50),
    row("c", 0.3, 0.5, 60, home=True),
    row("d", 0.3, 0.5, 40, number=1),
]


def test_limits_are_those_that_are_wrong_least_often() -> None:
    assert far(ROWS, 0.66, 0.63).tolist() == [True, False, False, False]
    assert wrong(ROWS, (0.66, 0.63)) == 0
    assert wrong(ROWS, (0.66, 0.9)) == 0.25
    assert choose(ROWS) == (0.4, 0.51)


def test_a_signal_is_as_good_as_it_ranks() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert ranked(values, np.array([True, False, False])) == 1
    assert ranked(values, np.array([False, True, False])) == 0.5
    assert np.isnan(ranked(values, np.array([False, False, False])))


def test_the_table_says_what_was_asked_and_said() -> None:
    lines = list(table(ROWS))
    assert "| a, without a | news | 0.30 | 0.50 | 50 % | news + legal, news | far | 5.0 |" in lines
    assert any("news alone" in line for line in lines)
    assert "| hidden | 4 | 1 | 1 | 1 | 0 | 0 | 1 |" in lines
    assert any(line.startswith("| d | ") for line in lines)
