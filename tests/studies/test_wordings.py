"""Definitions of types are said the way a user says a type with a description."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samner.backbones import TrainingSet
from samner.entities import Entity, Example, entity_types
from studies.training_data import Datasets
from studies.wordings import GLOSSES, SCHEMAS, definitions, reworded


@pytest.fixture
def data(tmp_path: Path) -> Datasets:
    def write(path: str, content: object) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content), encoding="utf-8")

    write(
        "data/types/descriptions.json",
        {"city": "'city' refers to places where many people live.", "alien": "'alien' is x."},
    )
    ways = {"names": ["town"], "descriptions": ["Where it is."]}
    write("data/types/label_paraphrases.json", {"city": ways, "fare": ways})
    write(f"runs/{GLOSSES}/definitions.json", {"rodent": "a small gnawing animal", "metal": "a shiny element"})
    return Datasets(tmp_path / "data", tmp_path / "runs")


def test_definitions_are_of_the_types_that_are_taught(data: Datasets) -> None:
    dialogue = TrainingSet(SCHEMAS, (), entity_types(["city", "fare"]))
    news = TrainingSet("news", (), entity_types(["city"]))
    assert definitions(data, [dialogue, news]) == {
        "city": [
            "city: places where many people live"
        ],  # what one schema calls it is left out: news means it otherwise
        "fare": ["town", "fare: Where it is"],
    }


def test_glosses_define_the_types_of_wordnet(data: Datasets) -> None:
    animals = TrainingSet(GLOSSES, (), entity_types(["rodent"]))
    assert definitions(data, [animals]) == {"rodent": ["rodent: a small gnawing animal"]}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="types/descriptions.json: neither in"):
        definitions(Datasets(tmp_path), [])


def test_who_calls_types_otherwise_has_the_same_entities() -> None:
    text = Example("Bern, Rex", (Entity(0, 4, "city"), Entity(6, 9, "dog"), Entity(0, 9, "other")))
    types, (same,) = reworded(entity_types(["city", "dog", "town"]), [text], {"city": ["town", "place"]})
    assert [t.name for t in types] == ["place", "dog", "town"]  # a name that another type has is not taken
    assert same.entities == (Entity(0, 4, "place"), Entity(6, 9, "dog"))
