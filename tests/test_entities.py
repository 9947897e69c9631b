from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.data import read_examples
from samner.entities import Entity, EntityType, Example, entity_types, shown_score
from samner.errors import DataError, ModelError, PoolError, SamnerError

names = st.text(min_size=1).map(str.strip).filter(bool)


class TestEntityType:
    def test_the_prompt_is_the_name_when_there_is_no_description(self) -> None:
        assert EntityType("disease").prompt == "disease"

    def test_the_prompt_joins_name_and_description(self) -> None:
        assert EntityType("disease", "an illness").prompt == "disease: an illness"

    @pytest.mark.parametrize("name", ["", " ", "\t\n", "\u00a0"])
    def test_a_blank_name_is_refused(self, name: str) -> None:
        with pytest.raises(SamnerError, match="not blank"):
            EntityType(name)

    @pytest.mark.parametrize(("name", "description"), [(3, ""), (None, ""), ("drug", None), ("drug", ["a medicine"])])
    def test_what_is_not_text_is_refused(self, name: Any, description: Any) -> None:
        with pytest.raises(SamnerError, match="told by text, not by"):
            EntityType(name, description)

    @pytest.mark.parametrize(("name", "description"), [("dr\ud83dug", ""), ("drug", "\udcff")])
    def test_half_a_surrogate_pair_is_refused(self, name: str, description: str) -> None:
        with pytest.raises(SamnerError, match="half of a surrogate pair"):
            EntityType(name, description)

    def test_it_is_immutable_and_hashable(self) -> None:
        entity_type = EntityType("drug")
        with pytest.raises(FrozenInstanceError):
            entity_type.name = "disease"  # type: ignore[misc]
        assert {entity_type, EntityType("drug")} == {entity_type}


class TestEntityTypes:
    def test_names_become_types_in_their_order(self) -> None:
        assert entity_types(["drug", "disease"]) == (EntityType("drug"), EntityType("disease"))

    def test_names_and_types_may_be_mixed(self) -> None:
        drug = EntityType("drug", "a medicine")
        assert entity_types([drug, "disease"]) == (drug, EntityType("disease"))

    def test_a_mapping_gives_descriptions(self) -> None:
        assert entity_types({"drug": "a medicine", "disease": ""}) == (
            EntityType("drug", "a medicine"),
            EntityType("disease"),
        )

    def test_a_missing_description_counts_as_empty(self) -> None:
        """As read from JSON or YAML, where a key without a value is null."""
        assert entity_types({"drug": None}) == (EntityType("drug"),)  # type: ignore[dict-item]

    def test_an_iterator_is_read_once(self) -> None:
        assert entity_types(name for name in ("drug", "disease")) == entity_types(["drug", "disease"])

    def test_a_single_string_is_refused_rather_than_split_into_letters(self) -> None:
        with pytest.raises(SamnerError, match="not the single string 'drug'"):
            entity_types("drug")

    @pytest.mark.parametrize("labels", [[1], ["drug", None], [("drug", "a medicine")], {"drug": 3}, {1: "one"}])
    def test_labels_that_are_not_text_are_refused(self, labels: Any) -> None:
        with pytest.raises(SamnerError, match="told by text, not by"):
            entity_types(labels)

    @pytest.mark.parametrize("labels", [None, 3, True])
    def test_what_is_no_list_is_refused(self, labels: Any) -> None:
        with pytest.raises(SamnerError, match="labels must be a list of names"):
            entity_types(labels)

    @pytest.mark.parametrize("labels", [[], (), {}, iter(())])
    def test_no_labels_are_refused(self, labels: list[str]) -> None:
        with pytest.raises(SamnerError, match="at least one label"):
            entity_types(labels)

    def test_a_blank_label_is_refused(self) -> None:
        with pytest.raises(SamnerError, match="not blank"):
            entity_types(["drug", " "])

    @pytest.mark.parametrize("labels", [["drug", "drug"], ["drug", EntityType("drug", "a medicine")]])
    def test_a_name_given_twice_is_refused(self, labels: list[str | EntityType]) -> None:
        with pytest.raises(SamnerError, match="'drug' is given twice"):
            entity_types(labels)

    def test_names_that_differ_in_case_are_different(self) -> None:
        assert len(entity_types(["Drug", "drug"])) == 2

    @given(st.lists(names, min_size=1, unique=True))
    def test_names_and_their_order_survive(self, labels: list[str]) -> None:
        types = entity_types(labels)
        assert [entity_type.name for entity_type in types] == labels
        assert entity_types(types) == types

    @given(st.dictionaries(names, st.text(), min_size=1))
    def test_a_mapping_equals_its_types(self, labels: dict[str, str]) -> None:
        assert entity_types(labels) == tuple(EntityType(name, text) for name, text in labels.items())


class TestEntity:
    def test_gold_is_certain_and_found_by_nobody(self) -> None:
        entity = Entity(0, 7, "drug")
        assert (entity.score, entity.found_by) == (1.0, ())

    def test_the_key_leaves_out_score_and_origin(self) -> None:
        predicted = Entity(0, 7, "drug", 0.4, ("similarity",))
        assert predicted.key == Entity(0, 7, "drug").key == (0, 7, "drug")
        assert predicted != Entity(0, 7, "drug")

    def test_it_is_immutable_and_hashable(self) -> None:
        entity = Entity(0, 7, "drug")
        with pytest.raises(FrozenInstanceError):
            entity.end = 8  # type: ignore[misc]
        assert {entity, Entity(0, 7, "drug")} == {entity}


class TestExample:
    def test_entities_default_to_none(self) -> None:
        assert Example("Aspirin helps.").entities == ()
        assert Example("Aspirin helps.").labels() == set()

    def test_labels_are_those_that_occur(self) -> None:
        entities = (Entity(0, 7, "drug"), Entity(17, 25, "symptom"), Entity(0, 7, "drug"))
        assert Example("Aspirin relieves headache.", entities).labels() == {"drug", "symptom"}

    def test_offsets_count_code_points_as_python_strings_do(self) -> None:
        example = Example("🧪 Aspirin", (Entity(2, 9, "drug"),))
        entity = example.entities[0]
        assert example.text[entity.start : entity.end] == "Aspirin"


@given(st.floats(0, 1), st.integers(1, 9999))
def test_what_is_shown_as_a_score_is_a_threshold_that_finds_it(score: float, share: int) -> None:
    assert score - 1.1e-4 < shown_score(score) <= score + 1e-7
    assert shown_score(share / 10_000) == share / 10_000


@pytest.mark.parametrize("error", [DataError, ModelError, PoolError])
def test_every_error_can_be_caught_as_one(error: type[SamnerError]) -> None:
    with pytest.raises(SamnerError, match="what is wrong"):
        raise error("what is wrong")


def test_blanks_around_a_label_do_not_count(tmp_path: Path) -> None:
    assert EntityType(" person\t").name == "person" and Entity(0, 3, "person ") == Entity(0, 3, "person")
    with pytest.raises(SamnerError, match="the label 'person' is given twice"):
        entity_types(["person", "person "])
    spans = [{"start": 0, "end": 3, "label": "person "}, {"start": 9, "end": 12, "label": "person"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "Ada met  Bob.", "entities": spans}) + "\n")
    (tmp_path / "b.conll").write_text("Ada\tB-person \nLovelace\tI-person\n\nBob\tB-person\n")
    for name in ("a.jsonl", "b.conll"):
        read = read_examples(tmp_path / name)
        assert {entity.label for example in read for entity in example.entities} == {"person"}
