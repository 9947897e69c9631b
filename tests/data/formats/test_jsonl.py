from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.data import iter_examples, iter_texts, read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError


@st.composite
def examples(draw: st.DrawFn) -> Example:
    text = draw(st.text())
    entities: dict[tuple[int, int, str], Entity] = {}
    for _ in range(draw(st.integers(0, 3)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        entity = Entity(
            start,
            draw(st.integers(start + 1, len(text))),
            draw(st.text(min_size=1).filter(str.strip)),
            draw(st.integers(0, 10_000)) / 10_000,
            tuple(draw(st.lists(st.sampled_from(["similarity", "sampling"]), unique=True))),
        )
        entities[entity.key] = entity
    return Example(text, tuple(entities.values()))


@given(st.lists(examples(), min_size=1))
def test_any_unicode_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, wanted: list[Example]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    write_examples(wanted, path)
    assert read_examples(path) == wanted
    assert read_texts(path) == [example.text for example in wanted]


@pytest.mark.parametrize(
    "text",
    ["👩‍👩‍👧 in Rome", "ירושלים is a city", "a\u2028b\u2029c\x85d", "one\ntwo\r\nthree", "e\u0301\ufeff", "\x00\x1f"],
)
def test_offsets_count_code_points(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    wanted = [Example(text, (Entity(0, len(text), "whole"), Entity(len(text) - 1, len(text), "last")))]
    write_examples(wanted, path)
    assert read_examples(path) == wanted
    assert len(path.read_bytes().split(b"\n")) == 2


def test_gold_has_its_text_and_predictions_also_who_found_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_examples(
        [
            Example(
                "Rome and Bonn", (Entity(0, 4, "city"), Entity(9, 13, "city", 0.123456, ("sampling",), "normalised"))
            )
        ],
        path,
    )
    assert json.loads(path.read_text()) == {
        "text": "Rome and Bonn",
        "entities": [
            {"start": 0, "end": 4, "label": "city", "text": "Rome"},
            {
                **{"start": 9, "end": 13, "label": "city", "text": "Bonn", "score": 0.1234},
                **{"found_by": ["sampling"], "aligned": "normalised"},
            },
        ],
    }
    assert read_examples(path)[0].entities[1].aligned == "normalised"


def test_reads_what_it_need_not_understand(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "Rome", "id": 7, "entities": [{"start": 0, "end": 4, "label": "city", "kb": 1}]}\r\n'
        b"\n  \n"
        b'{"text": "no labels"}\n'
        b'{"text": "null, as Arrow writes", "entities": null}\n'
        b'{"text": "nested", "entities": [{"start": 0, "end": 6, "label": "x", "score": null, "text": null},'
        b' {"start": 0, "end": 3, "label": "x"}, {"start": 0, "end": 6, "label": "y"}]}'
    )
    assert read_examples(path) == [
        Example("Rome", (Entity(0, 4, "city"),), {"id": 7}),
        Example("no labels"),
        Example("null, as Arrow writes"),
        Example("nested", (Entity(0, 6, "x"), Entity(0, 3, "x"), Entity(0, 6, "y"))),
    ]


def test_texts_are_read_without_a_look_at_entities(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Rome", "entities": [[0, "city"]]}\n')
    assert read_texts(path) == ["Rome"]


def test_iterating_gives_what_comes_before_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\nbad\n')
    for iterator, first in ((iter_examples(path), Example("good")), (iter_texts(path), "good")):
        assert next(iterator) == first
        with pytest.raises(DataError, match=":2: "):
            next(iterator)


def entity(**changes: object) -> str:
    fields = {"start": 0, "end": 4, "label": "city"} | changes
    return json.dumps({"text": "Rome, not Bonn", "entities": [fields]})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"', "not valid JSON (column 13: Expecting ',' delimiter); each line must hold one object"),
        ("[" * 100_000, "not usable JSON"),
        ('["a"]', """must be one object like {"text": "...", "entities": []}, not ['a']"""),
        ('"text"', "must be one object"),
        ("{}", '"text" is missing'),
        ('{"text": 3}', "the text must be a string, not 3"),
        ('{"text": null}', "the text must be a string, not None"),
        ('{"text": "\\ud83d"}', "half of a surrogate pair"),
        ('{"text": "a", "page": {"of": ["\\ud83d"]}}', "'page' holds half of a surrogate pair"),
        ('{"text": "a", "entities": [], "id": "\\ud83d"}', "'id' holds half of a surrogate pair"),
        ('{"text": "a", "weight": NaN}', "'weight' holds NaN or an infinity, for which JSON has no word; use null"),
        ('{"text": "a", "page": {"of": [1e999]}}', "'page' holds NaN or an infinity"),
        ('{"text": "a", "entities": [], "id": -Infinity}', "'id' holds NaN or an infinity"),
        ('{"text": "a", "entities": {}}', "entities must be a list, not {}"),
        ('{"text": "a", "entities": [[0, "x"]]}', "entities[0]: must be [start, end, label], not [0, 'x']"),
        ('{"text": "a", "entities": ["x"]}', "entities[0]: must be an object like"),
        ('{"text": "a", "entities": [{"start": 0, "end": 1}]}', 'entities[0]: "label" is missing'),
        ('{"text": "a", "entities": [{"end": 1, "label": "x"}]}', 'entities[0]: "start" is missing'),
        (entity(start=-1), "-1:4 lies outside the text of 14 characters"),
        (entity(end=15), "0:15 lies outside the text of 14 characters; offsets count characters (not bytes) from 0"),
        (entity(end=0), "end 0 is not after start 0; end is exclusive"),
        (entity(start=5), "end 4 is not after start 5"),
        (entity(start=0.0), "start must be an integer, not 0.0"),
        (entity(end="4"), "end must be an integer, not '4'"),
        (entity(start=False), "start must be an integer, not False"),
        (entity(end=True), "end must be an integer, not True"),
        (entity(end=None), "end must be an integer, not None"),
        (entity(label=""), "label must be a string that is not blank, not ''"),
        (entity(label=" \t"), "label must be a string that is not blank"),
        (entity(label=3), "label must be a string that is not blank, not 3"),
        (entity(label=["city"]), "label must be a string that is not blank, not ['city']"),
        (entity(label="\ud83d"), "half of a surrogate pair"),
        (entity(text="Bonn"), "its text is 'Bonn' but characters 0:4 are 'Rome'"),
        (entity(text=4), "its text is 4 but characters 0:4 are 'Rome'"),
        (entity(score=1.5), "score must be a number from 0 to 1, not 1.5"),
        (entity(score="high"), "score must be a number from 0 to 1, not 'high'"),
        (entity(score=True), "score must be a number from 0 to 1, not True"),
        (entity(score=float("nan")), "score must be a number from 0 to 1, not nan"),
        (entity(found_by="sampling"), "found_by must be a list of strings, not 'sampling'"),
        (entity(aligned=["exact"]), "aligned must be a string, not ['exact']"),
        (
            '{"text": "Rome", "entities": [{"start": 0, "end": 4, "label": "city"},'
            ' {"start": 0, "end": 4, "label": "city", "score": 0.5}]}',
            "entities[1]: repeats the entity 0:4 'city'; keep one",
        ),
    ],
)
def test_refuses_a_line_in_one_line_that_says_where_and_why(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_examples(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: ")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example("Rome", (Entity(0, 5, "city"),)), "entities[0]: 0:5 lies outside the text of 4 characters"),
        (Example("Rome", (Entity(0, 4, " "),)), "entities[0]: label must be"),
        (Example("Rome", (Entity(0, 4, "city"), Entity(0, 4, "city"))), "entities[1]: repeats the entity"),
        (Example("Rome", (Entity(0, 4, "city", score=2.0),)), "entities[0]: score must be"),
        (Example("\udc00"), "half of a surrogate pair"),
        (Example("Rome", meta={"weight": float("inf")}), "'weight' holds NaN or an infinity"),
    ],
)
def test_writes_no_file_that_could_not_be_read(tmp_path: Path, example: Example, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(DataError) as caught:
        write_examples([Example("good"), example], path)
    assert str(caught.value).startswith(f"{path}: example 2: ")
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("strings.json", '["Ada", "in \\ud800 Bern"]'),
        ("texts.jsonl", '{"text": "in \\ud800 Bern"}'),
        ("tokens.jsonl", '{"tokens": ["Ada", "\\ud800x"], "tags": ["B-PER", "O"]}'),
    ],
)
def test_half_of_a_surrogate_pair_is_refused_at_every_door(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name}:1: .*half of a surrogate pair"):
        read_examples(tmp_path / name)
