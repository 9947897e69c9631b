"""JSON as other tools write it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samner.data import read_examples, read_gold, read_texts, write_examples
from samner.data.formats.registry import FORMATS
from samner.entities import Entity, Example
from samner.errors import DataError

TEXT = "Ada met Bo in Rome."
FOUND = (Entity(0, 3, "person"), Entity(14, 18, "city"))
SPANS = [{"start": 0, "end": 3, "label": "person"}, {"start": 14, "end": 18, "label": "city"}]
TRIPLES = [[0, 3, "person"], [14, 18, "city"]]
TOKENS = ["Ada", "met", "Bo", "in", "Rome."]


def task(*annotations: Any, text: str = TEXT, **data: Any) -> dict[str, Any]:
    return {"id": 5, "data": {"text": text, **data}, "annotations": list(annotations)}


def labelled(*spans: tuple[int, int, str], text: str = TEXT, shift: int = 0, **fields: Any) -> dict[str, Any]:
    result = [
        {
            "type": "labels",
            "value": {"start": s + shift, "end": e + shift, "text": text[s:e], "labels": [label]},
        }
        for s, e, label in spans
    ]
    return {**fields, "result": result}


BOTH = [(0, 3, "person"), (14, 18, "city")]
RECORDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "doccano": ({"id": 1, "text": TEXT, "label": TRIPLES}, {"id": 1}),
    "doccano, older": ({"text": TEXT, "labels": TRIPLES}, {}),
    "doccano, with relations": (
        {
            "text": TEXT,
            "entities": [
                {"id": 9, "label": x["label"], "start_offset": x["start"], "end_offset": x["end"]} for x in SPANS
            ],
            "relations": [{"from_id": 9}],
        },
        {"relations": [{"from_id": 9}]},
    ),
    "Prodigy": (
        {"text": TEXT, "_input_hash": 3, "tokens": [{"text": "Ada", "start": 0}], "spans": SPANS, "answer": "accept"},
        {"_input_hash": 3, "tokens": [{"text": "Ada", "start": 0}], "answer": "accept"},
    ),
    "spaCy": ({"text": TEXT, "ents": SPANS, "sents": []}, {"sents": []}),
    "spaCy 2": ({"text": TEXT, "entities": TRIPLES}, {}),
    "spaCy 2, a pair": ([TEXT, {"entities": TRIPLES, "cats": {}}], {"cats": {}}),
    "LightTag": (
        {"content": TEXT, "annotations": [{"start": 0, "end": 3, "tag": "person", "value": "Ada"}, [14, 18, "city"]]},
        {},
    ),
    "Label Studio": (task(labelled(*BOTH), source="web"), {"id": 5, "source": "web"}),
    "Label Studio, the truth among several": (
        task(labelled((0, 3, "city")), labelled(*BOTH, ground_truth=True)),
        {"id": 5, "annotations": [{"ground_truth": True, "result": []}]},
    ),
    "Label Studio, others cancelled": (task(labelled((0, 3, "x"), was_cancelled=True), labelled(*BOTH)), {"id": 5}),
    "Label Studio, twice the same": (task(labelled(*BOTH), labelled(*reversed(BOTH))), {"id": 5}),
    "Label Studio, min": (
        {"id": 5, "text": TEXT, "ner": [{"start": s, "end": e, "labels": [label]} for s, e, label in BOTH]},
        {"id": 5},
    ),
}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("shape", ["lines", "array", "array over lines", "held"])
def test_labels_are_found_whatever_they_are_called(tmp_path: Path, name: str, shape: str) -> None:
    record, meta = RECORDS[name]
    path = tmp_path / "a.json"
    content = {
        "lines": json.dumps(record) + "\n" + json.dumps(record) + "\n",
        "array": json.dumps([record, record]),
        "array over lines": json.dumps([record, record], indent=2),
        "held": json.dumps({"version": 1, "examples": [record, record]}),
    }[shape]
    if name == "spaCy 2, a pair" and shape == "held":
        pytest.skip("pairs are not held in objects")
    path.write_text(content)
    assert read_examples(path) == [Example(TEXT, FOUND, meta)] * 2
    assert read_texts(path) == [TEXT] * 2


def test_without_labels_a_record_is_kept_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"id": 1, "text": TEXT, "label": [["?"]], "entities": 3})
    assert read_examples(path, labelled=False) == [Example(TEXT, meta={"id": 1, "label": [["?"]]})]


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "spans": SPANS, "answer": "reject"},
        {"text": TEXT, "spans": SPANS, "answer": "ignore"},
        {"text": TEXT, "label": TRIPLES, "is_approved": False},
        {"text": TEXT, "label": TRIPLES, "is_approved": "False"},
        task(labelled(*BOTH, was_cancelled=True)),
    ],
)
def test_labels_that_do_not_count_are_none(tmp_path: Path, record: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", record)
    (example,) = read_examples(path)
    assert (example.text, example.entities) == (TEXT, ())
    with pytest.raises(DataError, match="no text has an entity.*1 of 1 say that their labels do not count"):
        read_gold(path)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": TEXT, "mentions": [{"from": 0, "to": 3, "class": "person"}]}, "'mentions' looks like labels"),
        ({"text": TEXT, "output": [{"entity_group": "person", "start": 0, "end": 3}]}, "'output' looks like labels"),
        ({"text": TEXT, "found": [{"char_start": 0, "char_end": 3, "kind": "person"}]}, "'found' looks like labels"),
        ({"text": TEXT, "gold": [["person", 0, 3]]}, "'gold' looks like labels"),
        ({"text": TEXT, "gold": [{"start": 0, "stop": 3, "name": "person"}]}, "'gold' looks like labels"),
        ({"text": TEXT, "found": json.dumps(TRIPLES)}, "'found' looks like labels"),
        ({"text": TEXT, "label": repr(TRIPLES)}, "'label' looks like labels"),
        ({"text": TEXT, "ner": ["B-person", "O"]}, "'ner' looks like labels"),
        ({"text": TEXT, "annotations": {"spans": TRIPLES}}, "'annotations' looks like labels"),
        ({"tokens": TOKENS, "entities": [{"start": 0, "end": 1, "type": "person"}]}, "'entities' looks like labels"),
        ({"text": TEXT, "spans": {"sc": SPANS}}, 'in span groups ("spans": sc), not in "ents"'),
        ({"text": TEXT, "label": [[0, 99, "x"]]}, "label[0]: 0:99 lies outside the text"),
        ({"text": TEXT, "spans": [{"start": 0, "end": 3}]}, 'spans[0]: "label" is missing'),
        (task(labelled((0, 3, "x")), labelled((0, 3, "y"))), "task 5 has 2 annotations that differ"),
        (task(labelled((0, 3, "x"), text="B" + TEXT)), "its text is 'BAd' but characters 0:3 are 'Ada'"),
        (task({"result": [{"type": "hypertextlabels", "value": {}}]}), "labels in HTML"),
        ({"data": {"a": "x", "b": "y"}, "annotations": []}, "needs its text under data.text; data holds a, b"),
        ({"id": 1, "body": TEXT}, '"text" is missing; each object needs it; it holds id, body: name the key'),
        ({"tokens": TOKENS, "ner_tags": [1, 0, 0, 0, 3]}, "ner_tags[0] is 1; it must be a string, or a number that"),
        ({"tokens": TOKENS, "tags": ["O"]}, "tags must be a list of 5 tags, one a token"),
        (
            {"tokenized_text": TOKENS, "ner": [[4, 5, "x"]]},
            "ner[0]: 4 to 5 are no tokens of the 5; GLiNER counts them",
        ),
        ({"tokenized_text": TOKENS, "ner": [["x", 0, 0]]}, "ner[0]: 'x' to 0 are no tokens"),
        ({"tokenized_text": "a b", "ner": []}, "tokenized_text must be a list of strings"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, record: dict[str, Any], reason: str) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a"}, record)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert reason in str(caught.value)


def test_a_key_of_the_text_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"id": 1, "body": TEXT, "label": TRIPLES})
    assert read_examples(path, "jsonl:body") == [Example(TEXT, FOUND, {"id": 1})]
    with pytest.raises(DataError, match="has no 'title'; it holds id, body, label"):
        read_examples(path, "jsonl:title")
    with pytest.raises(DataError, match="is no object of prodigy; it holds id, body, label"):
        read_examples(path, "prodigy")


def test_label_studio_offsets_in_utf16_are_counted_in_characters(tmp_path: Path) -> None:
    text = f"\U0001f600 {TEXT}"
    spans = [(2, 5, "person"), (16, 20, "city")]
    wanted = [Example(text, (Entity(2, 5, "person"), Entity(16, 20, "city")), {"id": 5})]
    for shift in (0, 1):
        path = write(tmp_path / "a.jsonl", task(labelled(*spans, text=text, shift=shift), text=text))
        assert read_examples(path) == wanted


def test_label_studios_predictions_keep_their_scores(tmp_path: Path) -> None:
    found = Example(
        TEXT, (Entity(0, 3, "person", 0.8, ("similarity",)), Entity(14, 18, "city", 0.6)), {"id": 5, "page": 2}
    )
    write_examples([found, Example("none")], tmp_path / "a.json", "label-studio-predictions")
    [task, empty] = json.loads((tmp_path / "a.json").read_text())
    assert task["id"] == 5 and task["data"] == {"text": TEXT, "page": 2} and "annotations" not in task
    [prediction] = task["predictions"]
    assert (prediction["score"], [r["score"] for r in prediction["result"]]) == (0.7, [0.8, 0.6])
    assert prediction["result"][1]["value"] == {"start": 14, "end": 18, "text": "Rome", "labels": ["city"]}
    assert empty["predictions"] == [{"model_version": "samner", "score": 0.0, "result": []}]
    back = read_examples(tmp_path / "a.json", "label-studio-predictions")
    assert [(e.key, e.score) for e in back[0].entities] == [((0, 3, "person"), 0.8), ((14, 18, "city"), 0.6)]
    assert back[0].meta == found.meta and back[1] == Example("none")
    assert read_examples(tmp_path / "a.json")[0].entities == ()  # by itself a prediction is no gold
    (tmp_path / "b.json").write_text(json.dumps([{"data": {"text": TEXT}, "predictions": [{}, {}]}]))
    with pytest.raises(DataError, match="has 2 predictions; keep the one that is to be read"):
        read_examples(tmp_path / "b.json", "label-studio-predictions")


def test_label_studio_keeps_what_is_no_label(tmp_path: Path) -> None:
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    annotation = {**labelled(*BOTH, id=7)}
    annotation["result"].append(choice)
    path = write(tmp_path / "a.jsonl", task(annotation))
    write_examples(read_examples(path), tmp_path / "b.json", "label-studio")
    (back,) = json.loads((tmp_path / "b.json").read_text())
    assert back["annotations"][0]["id"] == 7 and back["annotations"][0]["result"][-1] == choice
    assert read_examples(tmp_path / "b.json") == read_examples(path)


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"tokenized_text": TOKENS[:4], "ner": [[0, 0, "person"], [0, 2, "meeting"]]}, "Ada met Bo in"),
        (
            {"tokenized_text": TOKENS[:4], "ner": [[0, 0, "person"], [0, 2, "meeting"]], "text": "Ada met\nBo  in"},
            "Ada met\nBo  in",
        ),
        (
            {"tokenized_text": TOKENS[:4], "ner": [[0, 0, "person"], [0, 2, "meeting"]], "text": "other"},
            "Ada met Bo in",
        ),
    ],
)
def test_gliner_tokens_are_inclusive_and_may_overlap(tmp_path: Path, record: dict[str, Any], wanted: str) -> None:
    (example,) = read_examples(write(tmp_path / "a.jsonl", record))
    assert example == Example(wanted, (Entity(0, 3, "person"), Entity(0, wanted.index("Bo") + 2, "meeting")))


def test_one_tag_anywhere_tells_the_scheme_of_tokens(tmp_path: Path) -> None:
    rows = [{"id": i, "words": ["a", "b"], "labels": tags} for i, tags in enumerate([["B-x", "E-x"], ["S-y", "O"]])]
    assert read_examples(write(tmp_path / "a.jsonl", *rows)) == [
        Example("a b", (Entity(0, 3, "x"),), {"id": 0}),
        Example("a b", (Entity(0, 1, "y"),), {"id": 1}),
    ]
    rows[0]["labels"] = ["B-x", "I-x"]
    with pytest.raises(DataError, match=r":1: labels\[1\]: 'I-x' is the last tag of its entity"):
        read_examples(write(tmp_path / "a.jsonl", *rows))


def test_training_json_of_spacy_2(tmp_path: Path) -> None:
    tokens = [
        {"orth": orth, "ner": tag} for orth, tag in zip(TOKENS, ["U-person", "O", "O", "O", "U-city"], strict=True)
    ]
    document = {"id": 4, "paragraphs": [{"raw": f"{TEXT} ", "sentences": [{"tokens": tokens}]}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps([document], indent=1))
    assert read_examples(path) == [Example(f"{TEXT} ", (FOUND[0], Entity(14, 19, "city")), {"id": 4})]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ('["Ada met Bo.", "It is cold."]', ["Ada met Bo.", "It is cold."]),
        ('[\n "Ada met Bo.",\n "It is cold."\n]\n', ["Ada met Bo.", "It is cold."]),
        ('{"texts": ["Ada met Bo.", "It is cold."]}', ["Ada met Bo.", "It is cold."]),
        ('{"a": "Ada met Bo.", "b": "It is cold."}', ["Ada met Bo.", "It is cold."]),
        ('"Ada met\\nBo."', ["Ada met\nBo."]),
        ('{"text": "a"}\n{\n "text": "b"}', None),
        ('{\n "text": "a"}\n{\n "text": "b"\n}', ["a", "b"]),
        ("[]", None),
        ('[{"text": "a"}', None),
        ('[{"text": "a"}] more', None),
        ('[{"text": "a"} {"text": "b"}]', None),
        ('[{"text": "a"}, 3]', None),
    ],
)
def test_documents_of_json(tmp_path: Path, content: str, wanted: list[str] | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    if wanted is not None:
        assert read_texts(path) == wanted
        return
    with pytest.raises(DataError, match=rf"{path}(:\d+)?: "):
        read_texts(path)


def test_the_place_of_an_object_in_an_array_is_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"text": "a"},\n\n{"text": 3}\n]')
    with pytest.raises(DataError, match=r"a\.json:4: the text must be a string, not 3"):
        read_examples(path)
    path.write_text('[\n{"text": "a"},\n{"text": "b"\n]')
    with pytest.raises(DataError, match=r"a\.json:4: not valid JSON .*array; .*--format text"):
        read_examples(path)


def test_blank_lines_between_objects_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n\n \n{"text": "b"}\n\n')
    assert read_texts(path) == ["a", "b"]
    assert "2 blank lines were left out" in caplog.text


DIALECTS = ["jsonl", "doccano", "prodigy", "spacy-json", "label-studio", "label-studio-min", "gliner", "tokens"]


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_that_is_written_comes_back(tmp_path: Path, name: str) -> None:
    examples = [
        Example("Ada met Bo in Rome .", FOUND, {"id": "a", "hash": 3, "meta": {"page": [1]}}),
        Example("Ada's  e\u0301cole", (Entity(0, 3, "person"),), {"id": 2}),
        Example("none", (), {"url": None}),
    ]
    write_examples(examples, tmp_path / "a.json", name)
    assert read_examples(tmp_path / "a.json") == read_examples(tmp_path / "a.json", name) == examples


def test_dialects_say_what_they_cannot(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not begin and end with a token, which gliner cannot say"):
        write_examples([Example("Romans", (Entity(0, 4, "city"),))], tmp_path / "a.json", "gliner")
    with pytest.raises(DataError, match="overlaps another, which BIO cannot say"):
        write_examples([Example("a b", (Entity(0, 3, "x"), Entity(0, 1, "y")))], tmp_path / "a.json", "tokens")
    with pytest.raises(DataError, match="lighttag can be read but not written"):
        write_examples([Example("a")], tmp_path / "a.json", "lighttag")
    with pytest.raises(DataError, match="example 1: meta holds what JSON has no word for"):
        write_examples([Example("a", meta={"id": object()})], tmp_path / "a.json")
    with pytest.raises(DataError, match="example 1: meta cannot have the key 'text'"):
        write_examples([Example("a", meta={"text": "b"})], tmp_path / "a.json")
    assert set(DIALECTS) <= set(FORMATS)


@pytest.mark.parametrize("document", [{"paragraphs": [{}]}, [{"paragraphs": [3]}]])
@pytest.mark.parametrize("indent", [None, 1])
def test_what_is_wrong_in_a_document_is_told_with_its_place(tmp_path: Path, document: Any, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document, indent=indent))
    with pytest.raises(DataError, match=r"a\.json:[12]: a paragraph of spaCy's"):
        read_examples(path)


@pytest.mark.parametrize("name", [name for name, f in FORMATS.items() if f.write and "ids" in f.keeps])
def test_what_entities_are_called_is_kept(tmp_path: Path, name: str) -> None:
    named = tuple(replace(e, id=called) for e, called in zip(FOUND, ("T7", "T3"), strict=True))
    mixed = (replace(FOUND[0], id="T7"), FOUND[1])
    written = [Example(TEXT, named, {"id": "a"}), Example(TEXT, mixed, {"id": "b"}), Example(TEXT, FOUND, {"id": "c"})]
    write_examples(written, tmp_path / "out", name)
    read = read_examples(tmp_path / "out", name)
    assert read == written
    assert [e.id for e in read[0].entities] == ["T7", "T3"] and read[1].entities[0].id == "T7"
    write_examples(read, tmp_path / "again.jsonl")
    assert [[e.id for e in x.entities] for x in read_examples(tmp_path / "again.jsonl")] == [
        [e.id for e in x.entities] for x in read
    ]


@pytest.mark.parametrize("name", ["doccano", "datasets", "parquet"])
def test_ids_may_be_numbers(tmp_path: Path, name: str) -> None:
    write_examples([Example(TEXT, (replace(FOUND[0], id=5), FOUND[1]))], tmp_path / "out", name)
    assert [e.id for e in read_examples(tmp_path / "out", name)[0].entities] == [5, None]
