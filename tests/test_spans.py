from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from samner.entities import Entity
from samner.spans import flat

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
