from __future__ import annotations

import pytest

from performance import llm
from samner.entities import Entity


def test_the_table_is_of_the_same_answers_both_ways() -> None:
    text = llm.main(["--count", "2", "--repeats", "1"])
    assert "Same answers both ways" in text
    assert "| union: two task models | 2 " in text and "| sampling: 6 experts " in text


def test_other_answers_are_told() -> None:
    one, other = {"a": [[Entity(0, 3, "person", 0.5)]]}, {"a": [[Entity(0, 3, "person", 0.6)]]}
    llm.check_same(one, one)
    for wrong in (other, {"a": [[]]}):
        with pytest.raises(SystemExit, match="a answers text 0 differently"):
            llm.check_same(one, wrong)
