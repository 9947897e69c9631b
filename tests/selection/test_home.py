from __future__ import annotations

import pytest

from samner.entities import entity_types
from samner.pool import ExpertCard
from samner.selection.home import at_home, foreign

CARDS = {
    name: ExpertCard(name=name, base="base", types=types, embedding=(1.0,))
    for name, types in (
        ("medicine", ("drug", "disease")),
        ("news", ("person", "place")),
        ("sports", ("person", "team")),
    )
}
KNOWN = entity_types(["drug", "disease"])


def cosine(medicine: float, news: float = 0.1, sports: float = 0.0) -> dict[str, float]:
    return {"medicine": medicine, "news": news, "sports": sports}


def test_the_domain_is_its_whose_texts_and_types_are_the_targets() -> None:
    assert at_home(CARDS, cosine(0.6), KNOWN) == "medicine"
    assert at_home({"medicine": CARDS["medicine"]}, {"medicine": 0.6}, KNOWN) == "medicine"


def test_the_more_alike_the_texts_the_less_alike_the_names_need_be() -> None:
    called_otherwise = entity_types(["medicine", "illness"])
    assert at_home(CARDS, cosine(0.9), called_otherwise) == "medicine"
    assert at_home(CARDS, cosine(0.5), called_otherwise) is None
    assert at_home(CARDS, cosine(0.5), KNOWN) == "medicine"


@pytest.mark.parametrize(
    ("near", "types"),
    [
        (cosine(0.2), ["drug", "disease"]),  # texts unlike the expert's
        (cosine(0.6, news=0.55), ["drug", "disease"]),  # and as like another's
        (cosine(0.6), ["drug", "stadium"]),  # a type that it does not know
        (cosine(0.95), ["drug", "person"]),  # or that another knows, however alike the texts
        (cosine(0.1, news=0.6), ["drug", "disease"]),  # types that another knows
    ],
)
def test_what_is_only_near_is_nobodys(near: dict[str, float], types: list[str]) -> None:
    assert at_home(CARDS, near, entity_types(types)) is None


def test_types_unlike_any_that_the_expert_was_taught_are_foreign() -> None:
    asked = entity_types(["medicine", "illness", "stadium"])
    assert foreign(CARDS["medicine"], asked) == ["stadium"]
    assert foreign(CARDS["medicine"], KNOWN) == []
