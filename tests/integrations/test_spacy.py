from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.evaluate import evaluate
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from samner.entities import Entity
from samner.errors import SamnerError
from samner.integrations.spacy import SamnerComponent, make
from samner.task_model import TaskModel

TEXT = "Ada Moreno takes Aspirin for a headache. Today."
FIRST = "Aspirin relieves headache within hours."


def pipeline(model: TaskModel | None, /, **config: Any) -> Any:
    nlp = spacy.blank("en")
    component = nlp.add_pipe("samner", config=config)
    if model is not None:
        component.task_model = model
    return nlp


def ents(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def test_entities_have_their_scores_and_who_found_them(model: TaskModel) -> None:
    doc = pipeline(model)(TEXT)
    # a headache with its full stop: the model's words end where spaCy's do not
    assert ents(doc) == [("Ada Moreno", "person"), ("Aspirin", "drug"), ("headache.", "disease")]
    group = doc.spans["samner"]
    assert [span.text for span in group] == ["Ada Moreno", "Aspirin", "headache."]
    assert group.attrs == {"scores": [0.9, 0.8, 0.6], "found_by": [["similarity", "sampling"]] * 3}
    known = doc.ents[1]._.samner
    assert known == Entity(17, 24, "drug", 0.8, ("similarity", "sampling")) and known.text == "Aspirin"
    assert group[0]._.samner.score == 0.9
    assert doc[0:1]._.samner is None


def test_a_pipe_asks_for_many_documents_at_once(model: TaskModel) -> None:
    nlp = pipeline(model)
    docs = list(nlp.pipe([(TEXT, {"id": i}) for i in range(5)], batch_size=2, as_tuples=True))
    assert [(len(doc.ents), context["id"]) for doc, context in docs] == [(3, i) for i in range(5)]
    asked = [len({text for text in texts}) for texts, _ in model.backbone.calls]
    assert len(asked) == 3 and list(nlp.pipe([])) == []
    assert ents(nlp("")) == []


def test_an_error_is_handled_as_the_pipeline_says(model: TaskModel) -> None:
    nlp = pipeline(model, mode="economy")
    with pytest.raises(SamnerError, match="holds no task model 'economy'"):
        nlp(TEXT)
    seen: list[Any] = []
    nlp.set_error_handler(lambda name, proc, docs, error: seen.append((name, len(docs), str(error))))
    assert list(nlp.pipe([TEXT, TEXT])) == []
    assert seen[0][:2] == ("samner", 2)


def test_overlaps_are_in_the_spans_and_the_surer_in_the_entities(model: TaskModel) -> None:
    doc = pipeline(model, overlaps="nested", spans_key="found")(TEXT)
    assert [span.text for span in doc.spans["found"]] == ["Ada Moreno", "Moreno", "Aspirin", "headache."]
    assert ents(doc)[0] == ("Ada Moreno", "person")
    assert doc.spans["found"][1]._.samner.label == "family name"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("merge", [("Ada", "FIRST"), ("Aspirin", "drug"), ("headache.", "disease"), ("Today", "DATE")]),
        ("replace", [("Ada Moreno", "person"), ("Aspirin", "drug"), ("headache.", "disease"), ("Today", "DATE")]),
        ("none", [("Ada", "FIRST"), ("Today", "DATE")]),
    ],
)
def test_entities_that_are_there_already(model: TaskModel, policy: str, expected: list[tuple[str, str]]) -> None:
    nlp = pipeline(model, ents=policy)
    doc = nlp.make_doc(TEXT)
    start = next(token.i for token in doc if token.text == "Today")
    doc.set_ents([Span(doc, 0, 1, "FIRST"), Span(doc, start, start + 1, "DATE")])
    doc = nlp.get_pipe("samner")(doc)
    assert ents(doc) == expected
    assert len(doc.spans["samner"]) == 3


def test_labels_thresholds_and_alignment(model: TaskModel) -> None:
    assert ents(pipeline(model, labels=["drug"])(TEXT)) == [("Aspirin", "drug")]
    assert ents(pipeline(model, threshold={"person": 0.95, "family name": 0.95, "disease": 0.7})(TEXT)) == [
        ("Aspirin", "drug")
    ]
    nlp = pipeline(model)
    assert nlp.get_pipe("samner").labels == ("person", "drug", "disease", "family name")
    inside = "4111x Aspirin"  # spaCy's word is longer than what the model found
    model.backbone.phrases["one"] = {"4111x": ("drug", 0.9)}
    assert ents(nlp(inside)) == [("4111x", "drug")]


def test_wrong_configs_are_refused(model: TaskModel) -> None:
    with pytest.raises(SamnerError, match="ents must be merge, replace or none, not 'all'"):
        pipeline(model, ents="all")
    with pytest.raises(SamnerError, match="alignment must be expand, contract or strict, not 'token'"):
        pipeline(model, alignment="token")
    with pytest.raises(SamnerError, match="the component 'samner' has no model"):
        pipeline(None)(TEXT)
    with pytest.raises(Exception, match="threshold"):
        pipeline(model, threshold="high")


def test_at_rest_as_folder_bytes_and_in_a_docbin(saved: Path, tmp_path: Path) -> None:
    nlp = pipeline(None, model=str(saved), threshold=0.4, device="cpu")
    doc = nlp(FIRST)
    assert ents(doc) == [("Aspirin", "drug"), ("headache", "disease")]
    for _ in range(2):  # into a folder that is there, too
        nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert loaded.get_pipe("samner").threshold == 0.4
    kept = loaded.get_pipe("samner").task_model
    assert kept.base_folder.is_relative_to(tmp_path / "pipeline")
    assert ents(loaded(FIRST)) == ents(doc)

    other = pipeline(None, device="cpu").from_bytes(nlp.to_bytes())
    assert ents(other(FIRST)) == ents(doc)

    found = DocBin(docs=[doc]).to_bytes()
    [again] = DocBin().from_bytes(found).get_docs(spacy.blank("en").vocab)
    assert ents(again) == ents(doc)
    assert again.ents[0]._.samner == doc.ents[0]._.samner is not None

    gold = nlp.make_doc(FIRST)
    gold.set_ents([gold.char_span(0, 7, "drug")])
    scores = nlp.evaluate([Example(nlp.make_doc(FIRST), gold)])
    assert (scores["ents_p"], scores["ents_r"]) == (0.5, 1.0)
    assert scores["spans_samner_f"] is None
    DocBin(docs=[gold]).to_disk(tmp_path / "gold.spacy")
    evaluate(str(tmp_path / "pipeline"), tmp_path / "gold.spacy", tmp_path / "scores.json", silent=True)
    told = json.loads((tmp_path / "scores.json").read_text())
    assert told["ents_per_type"]["drug"]["f"] == 1.0


def test_spans_of_gold_documents_are_scored(model: TaskModel) -> None:
    nlp = pipeline(model)
    gold = nlp.make_doc(TEXT)
    gold.spans["samner"] = [gold.char_span(0, 10, "person")]
    scores = nlp.evaluate([Example(nlp.make_doc(TEXT), gold)])
    assert scores["spans_samner_p"] == pytest.approx(1 / 3) and scores["spans_samner_r"] == 1.0


def test_spacy_finds_the_factory_by_its_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["spacy_factories"] == {"samner": f"{make.__module__}:{make.__name__}"}
    assert isinstance(pipeline(None).get_pipe("samner"), SamnerComponent)
