from __future__ import annotations

import itertools
import random
import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from samner import spans
from samner.entities import Entity, entity_types
from samner.errors import SamnerError
from samner.spans import MAX_ENTITY_WORDS, ROLES, decode, flat, mark, nested, resolve, word_spans
from samner.words import Word, words

entities = st.lists(
    st.builds(
        lambda start, length, label, score: Entity(start, start + length, label, score),
        st.integers(0, 20),
        st.integers(1, 8),
        st.sampled_from(["drug", "disease"]),
        st.sampled_from([0.25, 0.5, 0.75]),
    ),
    unique_by=lambda entity: entity.key,
    max_size=12,
)


def overlap(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end


def before(entity: Entity) -> tuple[float, int, int, str]:
    """Surer first, then longer, then earlier, then by label."""
    return (-entity.score, -(entity.end - entity.start), entity.start, entity.label)


def greedy(found: list[Entity]) -> list[Entity]:
    kept: list[Entity] = []
    for entity in sorted(found, key=before):
        if not any(overlap(entity, other) for other in kept):
            kept.append(entity)
    return sorted(kept, key=lambda e: e.start)


@given(entities)
def test_against_a_greedy_reference(found: list[Entity]) -> None:
    assert flat(found) == greedy(found)


@given(entities)
def test_nothing_overlaps_and_whatever_is_dropped_gave_way_to_better(found: list[Entity]) -> None:
    kept = flat(found)
    assert all(one.end <= other.start for one, other in itertools.pairwise(kept))
    for entity in set(found) - set(kept):
        assert any(overlap(entity, winner) and before(winner) < before(entity) for winner in kept)


@given(st.data(), entities)
def test_the_order_of_the_input_does_not_matter(data: st.DataObject, found: list[Entity]) -> None:
    assert flat(data.draw(st.permutations(found))) == flat(found)


@given(entities)
def test_what_is_flat_stays_as_it_is(found: list[Entity]) -> None:
    assert flat(flat(found)) == flat(found)


def test_spans_that_touch_do_not_overlap() -> None:
    touching = [Entity(0, 3, "drug"), Entity(3, 5, "drug")]
    assert flat(touching) == touching


def test_the_surer_span_wins_over_the_longer() -> None:
    assert flat([Entity(0, 9, "drug", 0.6), Entity(2, 4, "drug", 0.7)]) == [Entity(2, 4, "drug", 0.7)]


def test_ties_go_to_the_longer_then_the_earlier_then_the_label() -> None:
    assert flat([Entity(2, 4, "drug"), Entity(0, 9, "drug")]) == [Entity(0, 9, "drug")]
    assert flat([Entity(2, 6, "drug"), Entity(0, 4, "drug")]) == [Entity(0, 4, "drug")]
    assert flat([Entity(0, 4, "drug"), Entity(0, 4, "disease")]) == [Entity(0, 4, "disease")]


def test_far_into_a_long_text_and_with_many_candidates() -> None:
    many = [Entity(i, i + 5, "drug", 0.5 + (i % 7) / 20) for i in range(1_000_000, 1_002_000)]
    assert flat(many) == greedy(many)


def test_nothing_stays_nothing() -> None:
    assert flat([]) == []


def apart_or_within(one: Entity, other: Entity) -> bool:
    """As gliner's decoder lets spans be with ``flat_ner=False``: neither crosses the other, nor has its very place."""
    within = one.start <= other.start and other.end <= one.end, other.start <= one.start and one.end <= other.end
    return not overlap(one, other) or (any(within) and not all(within))


def greedy_nested(found: list[Entity]) -> list[Entity]:
    kept: list[Entity] = []
    for entity in sorted(found, key=before):
        if all(apart_or_within(entity, other) for other in kept):
            kept.append(entity)
    return sorted(kept, key=lambda e: e.key)


@given(entities)
def test_nested_against_a_greedy_reference(found: list[Entity]) -> None:
    assert nested(found) == greedy_nested(found)


def test_nested_far_into_a_long_text_and_with_many_candidates() -> None:
    many = [Entity(i, i + 1 + i % 9, "drug", 0.5 + (i % 7) / 20) for i in range(1_000_000, 1_001_000)]
    assert nested(many) == greedy_nested(many)


@given(entities)
def test_a_span_that_stays_has_all_of_its_labels_if_they_are_wanted(found: list[Entity]) -> None:
    for overlaps in ("flat", "nested"):
        spans = {(e.start, e.end) for e in resolve(found, overlaps)}
        assert resolve(found, overlaps, multi_label=True) == sorted(
            (e for e in found if (e.start, e.end) in spans), key=lambda e: e.key
        )
    assert resolve(found, "all") == sorted(found, key=lambda e: e.key)


@given(entities, st.sampled_from(["flat", "nested", "all"]), st.booleans(), st.sampled_from([0.25, 0.5, 0.75]))
def test_a_higher_threshold_finds_what_is_above_it(
    found: list[Entity], overlaps: str, multi_label: bool, threshold: float
) -> None:
    kept = resolve(found, overlaps, multi_label=multi_label)
    above = resolve([e for e in found if e.score >= threshold], overlaps, multi_label=multi_label)
    assert above == [e for e in kept if e.score >= threshold]


def test_another_way_to_overlap_is_refused() -> None:
    with pytest.raises(SamnerError, match="overlaps must be flat, nested or all, not 'crossing'"):
        resolve([], "crossing")


TYPES = entity_types(["drug", "disease"])


def words_of(count: int) -> list[Word]:
    return [Word(3 * i, 3 * i + 2, 1) for i in range(count)]


def brute_force(p: np.ndarray, words: list[Word], threshold: float) -> list[Entity]:
    found = []
    for column, entity_type in enumerate(TYPES):
        for first in range(len(words)):
            for last in range(first, len(words)):
                inside = p[first : last + 1, column, 2]
                if min(p[first, column, 0], p[last, column, 1], inside.min()) >= threshold:
                    score = min(p[first, column, 0], p[last, column, 1], inside.min())
                    found.append(Entity(words[first].start, words[last].end, entity_type.name, score))
    return found


grids = arrays.arrays(
    np.float32,
    st.integers(1, 7).map(lambda width: (width, len(TYPES), 3)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)


@given(p=grids, threshold=st.sampled_from([0.2, 0.25, 0.5, 0.6, 0.75]))
def test_against_brute_force(p: np.ndarray, threshold: float) -> None:
    words = words_of(len(p))
    mine = {e.key: e.score for e in decode(p, words, TYPES, threshold)}
    reference = {e.key: e.score for e in brute_force(p, words, threshold)}
    assert mine.keys() == reference.keys()
    assert len(mine) == len(decode(p, words, TYPES, threshold))
    for key, score in reference.items():
        assert mine[key] == pytest.approx(score, rel=1e-5)
        assert threshold - 1e-6 <= mine[key] <= 1


def test_a_span_needs_start_end_and_every_word_inside() -> None:
    p = np.zeros((4, 2, 3), dtype=np.float32)
    p[1, 0, 0] = p[3, 0, 1] = 0.9
    p[1:4, 0, 2] = 0.8
    assert [e.key for e in decode(p, words_of(4), TYPES, 0.5)] == [(3, 11, "drug")]
    p[2, 0, 2] = 0.4
    assert decode(p, words_of(4), TYPES, 0.5) == []


def test_the_threshold_itself_counts() -> None:
    p = np.full((1, 2, 3), 0.5, dtype=np.float32)
    assert len(decode(p, words_of(1), TYPES, 0.5)) == 2
    assert decode(p, words_of(1), TYPES, 0.51) == []


def test_no_span_is_longer_than_the_limit() -> None:
    p = np.full((MAX_ENTITY_WORDS + 5, 1, 3), 0.9, dtype=np.float32)
    found = decode(p, words_of(len(p)), TYPES[:1], 0.5)
    assert max(e.end - e.start for e in found) == 3 * MAX_ENTITY_WORDS - 1


def test_a_text_without_words_has_no_spans() -> None:
    assert decode(np.zeros((0, 2, 3), dtype=np.float32), [], TYPES, 0.5) == []


def steps(found: list[Entity]) -> int:
    """How many lines of samner's code run to resolve overlaps."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename == spans.__file__ else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        flat(found)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("longest", [30, 1_000_000], ids=["short spans", "spans as long as the text"])
def test_steps_grow_little_faster_than_the_number_of_spans(longest: int) -> None:
    draw = random.Random(0)

    def many(count: int) -> list[Entity]:
        starts = [draw.randrange(10 * count) for _ in range(count)]
        ends = [start + draw.randrange(1, min(longest, 10 * count)) for start in starts]
        return [Entity(start, end, "drug", draw.random()) for start, end in zip(starts, ends, strict=True)]

    assert steps(many(8000)) < 8 * 1.5 * steps(many(1000))


class TestWordSpans:
    TEXT = "Aspirin-like drugs help."
    WORDS = tuple(Word(start, end, 1) for start, end in words(TEXT))

    def span(self, start: int, end: int) -> list[tuple[int, int, str]]:
        found = word_spans([Entity(start, end, "drug", 0.7)], self.WORDS, {"drug"})
        return [(first, last, label) for first, last, label, score in found if score == 0.7]

    def test_first_and_last_word(self) -> None:
        assert self.span(0, 7) == [(0, 0, "drug")]
        assert self.span(0, 18) == [(0, 3, "drug")]
        assert self.span(13, 18) == [(3, 3, "drug")]

    def test_part_of_a_word_is_widened_to_it(self) -> None:
        assert self.span(2, 4) == [(0, 0, "drug")]
        assert self.span(10, 15) == [(2, 3, "drug")]

    def test_blanks_alone_and_other_labels_are_no_span(self) -> None:
        assert self.span(12, 13) == []
        assert list(word_spans([Entity(0, 1, "drug")], (), {"drug"})) == []
        assert list(word_spans([Entity(0, 7, "drug")], self.WORDS, {"disease"})) == []

    def test_what_is_marked_is_found(self) -> None:
        targets = torch.zeros(len(self.WORDS), 2, len(ROLES))
        mark(targets, [(0, 2, "drug", 1.0), (3, 3, "other", 1.0)], {"other": 0, "drug": 1})
        found = decode(targets.numpy(), self.WORDS, entity_types(["other", "drug"]), 0.5)
        assert {e.key for e in found} == {(0, 12, "drug"), (13, 18, "other")}
