"""Kinds of mistakes; tests/test_scoring.py holds how many there are against nervaluate."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.entities import Entity
from samner.errors import SamnerError
from samner.mistakes import mistakes

entities = st.builds(
    lambda start, size, label: Entity(start, start + size, label),
    st.integers(0, 12),
    st.integers(1, 4),
    st.sampled_from(("person", "place")),
)
texts = st.lists(entities, max_size=6)


def test_each_kind() -> None:
    gold = [Entity(0, 4, "politician"), Entity(5, 9, "place"), Entity(20, 24, "place")]
    found = [Entity(0, 4, "person"), Entity(5, 12, "place"), Entity(14, 18, "date")]
    made = mistakes([gold, gold], [found, found])
    assert made.to_dict() == {
        "label": [{"gold": "politician", "found": "person", "count": 2}],
        "boundary": {"place": 2},
        "spurious": {"date": 2},
        "missed": {"place": 2},
    }


def test_of_a_span_with_several_labels_the_one_not_found_is_meant() -> None:
    gold = [Entity(0, 4, "person"), Entity(0, 4, "politician")]
    found = [Entity(0, 4, "person"), Entity(0, 4, "place")]
    assert mistakes([gold], [found]).label == Counter({("politician", "place"): 1})


def touch(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end


@given(texts, texts)
def test_entities_that_overlap(gold: list[Entity], found: list[Entity]) -> None:
    made = mistakes([gold], [found])
    right = {e.key for e in gold} & {e.key for e in found}
    wrong, unfound = {e.key for e in found} - right, {e.key for e in gold} - right
    assert made.label.total() + made.boundary.total() + made.spurious.total() == len(wrong)
    assert made.spurious.total() == sum(not any(touch(Entity(*key), e) for e in gold) for key in wrong)
    assert made.missed.total() == sum(not any(touch(Entity(*key), e) for e in found) for key in unfound)


def test_gold_and_found_of_other_numbers_of_texts_are_refused() -> None:
    with pytest.raises(SamnerError, match="there are gold entities for 1 texts but found ones for 0"):
        mistakes([[]], [])
