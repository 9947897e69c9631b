from __future__ import annotations

import pytest

from samner.embedding import embed_domain
from samner.entities import EntityType, entity_types
from samner.pool import ExpertCard
from samner.selection import unfamiliar
from samner.selection.signals import familiarity
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


def test_what_the_base_was_taught_by_that_very_name_is_known() -> None:
    asked = entity_types(["Programming Language", "operating system", "file"])
    base_types = ["programming language", "operating system"]
    assert unfamiliar(CARDS, FAR, asked, base_types) == ()
    assert familiarity(asked, CARDS, base_types)[:2] == pytest.approx([1.0, 1.0])
    (said,) = unfamiliar(CARDS, FAR, asked, base_types[:1])
    assert "names close to 'operating system', 'file'; expect much to be missed or wrong" in said
    assert "base itself" not in said  # of a base that says what it was taught nothing is left open
    (said,) = unfamiliar(CARDS, FAR, asked)
    assert said.endswith("unless the base itself was taught them")


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
