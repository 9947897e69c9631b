from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones.language_model.generation.answer import parse
from samner.backbones.language_model.generation.prompt import Prompt, load_prompt, prompt_names
from samner.entities import EntityType, entity_types
from samner.errors import SamnerError

PROMPTS = [load_prompt(name) for name in prompt_names()]
TYPES = entity_types({"person": "", "city": "a town {text}"})
MENTIONS = [("Ada", "person"), ("Rome", "city"), ("Ada", "person"), ("x", "alien"), ("Ada", "city")]

GOOD = {
    "name": "mine",
    "version": 1,
    "description": "",
    "format": "object",
    "system": "",
    "question": "{types} {text}",
}


def write(path: Path, **changed: object) -> Path:
    values = {key: value for key, value in {**GOOD, **changed}.items() if value is not ...}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_the_prompts_that_ship():
    assert (
        [prompt.name for prompt in PROMPTS]
        == prompt_names()
        == ["json-by-type", "json-pairs", "json-short", "one-type"]
    )
    assert [prompt.format for prompt in PROMPTS] == ["object", "pairs", "object", "list"]
    assert all(prompt.description for prompt in PROMPTS)


def test_one_question_for_all_types():
    (question,) = load_prompt("json-by-type").questions("He said {types}, {text} and {x}.\n", TYPES)
    assert "- person\n- city: a town {text}\n" in question
    assert question.endswith("\nText: He said {types}, {text} and {x}.\n\nJSON:")


def test_one_question_for_each_type():
    questions = load_prompt("one-type").questions("Ada", TYPES)
    assert [question.splitlines()[0] for question in questions] == [
        "What describes person in the text?",
        "What describes city (a town {text}) in the text?",
    ]


@pytest.mark.parametrize("name", prompt_names())
def test_questions_for_the_same_types_share_all_but_the_text(name: str):
    prompt = load_prompt(name)
    for one, other in zip(prompt.questions("One.", TYPES), prompt.questions("Other.", TYPES), strict=True):
        before, _, after = one.partition("One.")
        assert other == f"{before}Other.{after}"
        assert "person" in before or "city" in before


def test_system_turn():
    values = {"name": "p", "version": 1, "description": "", "format": "list"}
    prompt = Prompt(**values, system=" Answer.\n", question="{type}? {text}\n")
    assert prompt.questions("T", TYPES)[0] == "person? T"
    assert prompt.plain("person? T") == "Answer.\nperson? T\n"
    assert prompt.messages("person? T") == [
        {"role": "system", "content": "Answer."},
        {"role": "user", "content": "person? T"},
    ]
    blank = Prompt(**values, system=" \n", question="{type}? {text}")
    assert blank.plain("person? T") == "person? T\n"
    assert blank.messages("person? T") == [{"role": "user", "content": "person? T"}]


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("json-by-type", ['{"person": ["Ada"], "city": ["Rome", "Ada"]}']),
        ("json-pairs", ['[["Ada", "person"], ["Rome", "city"], ["Ada", "city"]]']),
        ("json-short", ['{"person": ["Ada"], "city": ["Rome", "Ada"]}']),
        ("one-type", ['["Ada"]', '["Rome", "Ada"]']),
    ],
)
def test_answer(name: str, answers: list[str]):
    prompt = load_prompt(name)
    assert prompt.answer(MENTIONS, TYPES) == answers
    nothing = [json.loads(answer) for answer in prompt.answer([], TYPES)]
    none = {"object": [{"person": [], "city": []}], "pairs": [[]], "list": [[], []]}
    assert nothing == none[prompt.format]


strings = st.text(min_size=1).map(str.strip).filter(bool)


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[EntityType], list[tuple[str, str]]]:
    types = [EntityType(name) for name in draw(st.lists(strings, min_size=1, max_size=4, unique=True))]
    mention = st.tuples(
        strings | st.sampled_from(['a "b"', "C++", "] }", "'", "\\", "née 😀"]), st.sampled_from(types)
    )
    return types, [(text, entity_type.name) for text, entity_type in draw(st.lists(mention, max_size=6, unique=True))]


@given(asked())
def test_right_answers_are_valid_and_say_what_they_should(case):
    types, mentions = case
    for prompt in PROMPTS:
        read = []
        for answer, one in zip(prompt.answer(mentions, types), types if prompt.per_type else [None], strict=True):
            said = parse(f" {answer}\n", prompt.format, types, one)
            assert (said.status, said.notes) == ("valid", ())
            for mention in said.mentions:
                start, end = mention.span
                assert json.loads(f'"{answer[start - 1 : end - 1]}"') == mention.text
                read.append((mention.text, mention.label))
        by_type = [pair for t in types for pair in mentions if pair[1] == t.name]
        assert read == (mentions if prompt.format == "pairs" else by_type)


def test_a_file_of_ones_own(tmp_path: Path):
    path = write(tmp_path / "any.yaml", question='Like {"a": []}: {types}\n{text}', system="System.")
    prompt = load_prompt(path)
    assert prompt == load_prompt(str(path))
    assert prompt.questions("T", TYPES[:1]) == ['Like {"a": []}: - person\nT']


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"version": ...}, "version: is missing"),
        (
            {"langauge": "en"},
            "langauge: unknown setting; known are name, version, description, format, system, question",
        ),
        ({"name": "a/b"}, "name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$', not 'a/b'"),
        ({"system": None}, "system: input should be a valid string, not None"),
        ({"version": "1"}, "version: input should be a valid integer, not '1'"),
        ({"version": True}, "version: input should be a valid integer, not True"),
        ({"version": 0}, "version: input should be greater than or equal to 1, not 0"),
        ({"format": "xml"}, "format: input should be 'object', 'pairs' or 'list', not 'xml'"),
        ({"question": "{text} {types}"}, "question must hold {types} once, then {text} once, and no other {...}"),
        ({"question": "{types} {text} {x}"}, "question must hold {types} once, then {text} once, and no other {...}"),
        ({"format": "list"}, "question must hold {type} once, then {text} once, and no other {...}"),
        ({"system": "{text}"}, "system must hold no {text}; placeholders belong in question"),
    ],
)
def test_a_file_with_something_wrong(tmp_path: Path, changed, reason):
    path = write(tmp_path / "mine.yaml", **changed)
    with pytest.raises(SamnerError) as error:
        load_prompt(path)
    assert str(error.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- a\n", ": must be a mapping of keys to values, not ['a']"),
        (b"name: a\nname: b\n", ":2: not valid YAML (the key 'name' is given twice)"),
        (b"name: a\nsystem: [\n", ":3: not valid YAML (expected the node content, but found '<stream end>')"),
        (b"\xff", ": is not UTF-8 text"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(SamnerError) as error:
        load_prompt(path)
    assert str(error.value) == f"{path}{reason}"


def test_no_such_prompt():
    with pytest.raises(SamnerError, match="no prompt 'nobody'; give a YAML file, or one of json-by-type, json-pairs"):
        load_prompt("nobody")
