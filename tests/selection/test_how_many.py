from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.errors import SamnerError
from samner.selection import check_count
from samner.selection.result import first

RANKING = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ((1.0, 0.9, 0.85, 0.84), "abc"),  # three at most
        ((1.0, 0.3, 0.29, 0.1), "ab"),
        ((1.0, 0.2, 0.2, 0.2), "a"),
        ((0.0, 0.0, 0.0, 0.0), "a"),  # nothing is a share of nothing
        ((-0.1, -0.1, -0.2, -0.3), "a"),
    ],
)
def test_auto_takes_those_not_far_below_the_best(scores: tuple[float, ...], chosen: str) -> None:
    assert first(RANKING, dict(zip(RANKING, scores, strict=True)), "auto") == tuple(chosen)


def test_a_number_is_taken_as_it_is() -> None:
    assert [first(RANKING, dict.fromkeys(RANKING, 0.0), k) for k in (1, 3, 9)] == [RANKING[:1], RANKING[:3], RANKING]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_auto_is_a_beginning_of_the_ranking(scores: list[float]) -> None:
    by = {str(i): score for i, score in enumerate(sorted(scores, reverse=True))}
    chosen = first(tuple(by), by, "auto")
    assert 1 <= len(chosen) <= 3
    assert chosen == tuple(by)[: len(chosen)]


@pytest.mark.parametrize("count", [0, -1, 2.0, "3", "many", None, True])
def test_what_is_no_number_of_experts_is_refused(count: Any) -> None:
    with pytest.raises(SamnerError, match="the number of experts must be at least 1 or 'auto', not"):
        check_count(count)


def test_what_is_one_is_not() -> None:
    for count in (1, 40, "auto"):
        check_count(count)
