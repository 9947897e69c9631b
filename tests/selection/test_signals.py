from __future__ import annotations

import pytest

from samner.embedding import embed_domain
from samner.entities import EntityType, entity_types
from samner.pool import ExpertCard
from samner.selection import unfamiliar
from samner.selection.similarity import type_similarity


def card(name: str, *types: str) -> ExpertCard:
    embedding = tuple(map(float, embed_domain(["Aspirin relieves headache."])))
    return ExpertCard(name=name, base="base", types=types, embedding=embedding)


CARDS = {"medicine": card("medicine", "drug", "disease"), "sports": card("sports", "person", "team")}
FAR = {"medicine": 0.2, "sports": 0.1}


def test_texts_and_types_unlike_any_are_warned_of_with_the_reasons() -> None:
    (said,) = unfamiliar(CARDS, FAR, entity_types(["programming language", "operating system"]))
    assert "the most similar texts are those of 'medicine' (cosine 0.20)" in said
    assert "names close to 'programming language', 'operating system'; expect much" in said


def test_close_texts_or_close_types_are_enough() -> None:
    strange = entity_types(["programming language", "operating system"])
    assert unfamiliar(CARDS, {"medicine": 0.1, "sports": 0.9}, strange) == ()
    assert unfamiliar(CARDS, FAR, entity_types(["disease", "person"])) == ()


def test_only_the_unknown_types_are_named_and_not_too_many() -> None:
    (said,) = unfamiliar(CARDS, FAR, entity_types(["drug", *(f"programming language {i}" for i in range(7))]))
    assert "'drug'" not in said
    assert "'programming language 4' and 2 more;" in said


def test_types_are_compared_by_name() -> None:
    """What a user writes to describe a type says nothing about whether experts know it."""
    described = [EntityType("drug", "a substance that a physician prescribes"), EntityType("team")]
    assert type_similarity(described, CARDS) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_experts_without_types_know_none() -> None:
    cards = {"old": card("old")}
    types = entity_types(["drug", "dose"])
    assert type_similarity(types, cards) == pytest.approx([0.0, 0.0])
    assert "names close to 'drug', 'dose'" in unfamiliar(cards, {"old": 0.1}, types)[0]


def test_a_single_type_tells_too_little() -> None:
    assert unfamiliar(CARDS, FAR, entity_types(["programming language"])) == ()
