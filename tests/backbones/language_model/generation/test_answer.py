from __future__ import annotations

import pytest

from samner.backbones.language_model.generation.answer import Answer, parse
from samner.entities import entity_types

TYPES = entity_types(["person", "date", "home town"])

QUOTES = "other quotation marks than JSON's"
ESCAPES = "a string with characters that JSON escapes"


def said(answer: Answer) -> list[tuple[str, str]]:
    return [(mention.label, mention.text) for mention in answer.mentions]


def people(*names: str) -> list[tuple[str, str]]:
    return [("person", name) for name in names]


@pytest.mark.parametrize(
    ("prompt_format", "raw", "mentions"),
    [
        ("object", ' {"person": ["Ada", "Bob"], "date": []}\n', people("Ada", "Bob")),
        ("object", "{}", []),
        ("object", '{"person": ["Ada"]}', people("Ada")),
        ("object", '{"date": [], "person": ["a \\"b\\" \\u00e9"]}', people('a "b" é')),
        ("pairs", '[["Ada", "person"], ["1815", "date"]]', [("person", "Ada"), ("date", "1815")]),
        ("pairs", "[]", []),
        ("list", '["Ada","Bob"]', people("Ada", "Bob")),
        ("list", "[]", []),
    ],
)
def test_valid(prompt_format: str, raw: str, mentions):
    answer = parse(raw, prompt_format, TYPES, TYPES[0] if prompt_format == "list" else None)
    assert (said(answer), answer.status, answer.notes) == (mentions, "valid", ())


@pytest.mark.parametrize(
    ("raw", "mentions", "notes"),
    [
        # cut off
        ('{"person": ["Ada", "Bo', people("Ada"), ["cut off after 1 mention"]),
        ('{"person": ["Ada", "Bob"', people("Ada", "Bob"), ["cut off after 2 mentions"]),
        ('{"person": [], "da', [], ["cut off after 0 mentions"]),
        ('{"person": ["Ada"], "date": ["18\n```', people("Ada"), ["cut off after 1 mention"]),
        # quotation marks
        ("{'person': [\"O'Neil\", 'O'Brien']}", people("O'Neil", "O'Brien"), [QUOTES]),
        ("{“person”: [“Ada”]}", people("Ada"), [QUOTES]),
        (
            '{"person": ["the "A, B" team", "say "yes", he said"]}',
            people('the "A, B" team', 'say "yes", he said'),
            [ESCAPES],
        ),
        ('{"person": ["12" single"], "date": []}', people('12" single'), [ESCAPES]),
        ('{"person": ["C:\\dir", "a\tb"]}', people("C:\\dir", "a\tb"), [ESCAPES]),
        ("{person: [Ada Lovelace, Bob], date: 1815}", None, ["words without quotation marks"]),
        ('{"person": ["Ada", Bob], "date": []}', people("Ada", "Bob"), ["words without quotation marks"]),
        ('{person": [Ada", "Bob"]}', people("Ada", "Bob"), ["a quotation mark is missing"]),
        # commas and brackets
        ('{"person": ["Ada", "Bob",], "date": [],}', people("Ada", "Bob"), ["a comma before a closing bracket"]),
        ('{"person": ["Ada" "Bob"\n"Cem"]}', people("Ada", "Bob", "Cem"), ["a comma is missing"]),
        ('{"person": ["Ada", "date": ["1815"]}', None, ["a list was not closed"]),
        ('{"person": ["Ada"}, "date": ["1815"]}', None, ["a list closed by '}'"]),
        ('{"person": ["Ada"}', people("Ada"), ["a list was not closed"]),
        ('{"person": ["Ada"]], "date": ["1815"]}', None, ["a ']' too many"]),
        # what is around it and in it
        ('```json\n{"person": ["Ada"]}\n```', people("Ada"), ["a code fence"]),
        (
            'Sure, see [1]: {"person": ["Ada"]} Text: Bob. {"person": ["Bob"]}',
            people("Ada"),
            ["words before the JSON", "words after the JSON"],
        ),
        ('{"person": ["Ada" (a poet), "Bob"]}', people("Ada", "Bob"), ["words after a string"]),
        ('{"person": ["Ada", // a poet\n "Bob", ...]}', people("Ada", "Bob"), ["'...' is no string"]),
        ('{"person": None, "date": null}', [], ["'None' is no string", "'null' is no string"]),
        ('{"person": [True, "Ada"]}', people("Ada"), ["'True' is no string"]),
        ('{"person", "date": ["1815"]}', [("date", "1815")], ["'person' has no value"]),
        ('{"person": , "date": ["1815"]}', [("date", "1815")], ["'person' has no value"]),
        ('{"person": ["Ada"], "person": ["Bob"]}', people("Ada", "Bob"), ["'person' given twice"]),
        # labels
        ('{"Person": ["Ada"]}', people("Ada"), ["label 'Person' taken for 'person'"]),
        ('{"home_town": ["Rome"]}', [("home town", "Rome")], ["label 'home_town' taken for 'home town'"]),
        (
            '{"alien": ["x"], "person": ["Ada"]}',
            people("Ada"),
            ["unknown label 'alien'", "'x' has no label"],
        ),
        ('{"alien": []}', [], ["unknown label 'alien'"]),
        # other forms
        ('{"person": "Ada"}', people("Ada"), ["another form than the one asked for"]),
        ('[["Ada", "person"], ["date", "1815"]]', None, ["a label before its string"]),
        ('{"entities": [{"text": "Ada", "type": "person"}]}', people("Ada"), ["unknown label 'entities'"]),
    ],
)
def test_repaired_object(raw: str, mentions, notes: list[str]):
    answer = parse(raw, "object", TYPES)
    if mentions is None:
        mentions = [
            *([("person", "Ada Lovelace"), ("person", "Bob")] if "Lovelace" in raw else people("Ada")),
            ("date", "1815"),
        ]
    assert (said(answer), answer.status) == (mentions, "repaired")
    assert list(answer.notes) == notes


@pytest.mark.parametrize(
    ("raw", "mentions", "notes"),
    [
        ('[["Ada", "person"], ["Bob", "per', people("Ada"), ["'Bob' has no label", "cut off after 1 mention"]),
        ('[["Ada", "person", ["1815", "date"]]', None, ["cut off after 2 mentions"]),
        ('["Ada", "person"]', people("Ada"), ["another form than the one asked for"]),
        ('[["Ada", "alien"], ["Bob", "person"]]', people("Bob"), ["unknown label 'alien'"]),
        ('{"person": ["Ada", "Bob"]}', people("Ada", "Bob"), ["another form than the one asked for"]),
        (
            '[{"entity": "Ada", "label": "person", "score": 0.9}]',
            people("Ada"),
            ["words without quotation marks"],
        ),
    ],
)
def test_repaired_pairs(raw: str, mentions, notes: list[str]):
    answer = parse(raw, "pairs", TYPES)
    mentions = [("person", "Ada"), ("date", "1815")] if mentions is None else mentions
    assert (said(answer), answer.status) == (mentions, "repaired")
    assert list(answer.notes) == notes


@pytest.mark.parametrize(
    ("raw", "mentions", "notes"),
    [
        ('["Ada", "Bo', people("Ada"), ["cut off after 1 mention"]),
        ("['Ada', 'rock 'n' roll']", people("Ada", "rock 'n' roll"), [QUOTES]),
        ("[Ada, Bob]", people("Ada", "Bob"), ["words without quotation marks"]),
        ("[1815]", people("1815"), ["words without quotation marks"]),
        ('{"person": ["Ada"]}', people("Ada"), ["another form than the one asked for"]),
        ('{"date": ["1815"]}', [], ["unknown label 'date'", "'1815' has no label"]),
        ("None: []", [], ["words before the JSON"]),
    ],
)
def test_repaired_list(raw: str, mentions, notes: list[str]):
    answer = parse(raw, "list", TYPES, TYPES[0])
    if raw.startswith('{"date'):
        assert (answer.mentions, answer.status) == ((), "unreadable")
        assert list(answer.notes) == [*notes, "nothing to read"]
    else:
        assert (said(answer), answer.status, list(answer.notes)) == (mentions, "repaired", notes)


@pytest.mark.parametrize("prompt_format", ["object", "pairs", "list"])
@pytest.mark.parametrize(
    "raw", ["", " \n", "null", "None", "Ada, Bob", "I see [2] of them.", "[", '{"per', '["Ada', "]}"]
)
def test_unreadable(prompt_format: str, raw: str):
    answer = parse(raw, prompt_format, TYPES, TYPES[0] if prompt_format == "list" else None)
    assert (answer.mentions, answer.status) == ((), "unreadable")
    assert answer.notes


def test_spans_point_into_the_answer():
    raw = "Well: {'person': ['O\\'Brien', \"\\u00c5sa \\\"B\\\"\", Bob  ]}"
    answer = parse(raw, "object", TYPES)
    assert [(m.text, raw[slice(*m.span)]) for m in answer.mentions] == [
        ("O'Brien", "O\\'Brien"),
        ('Åsa "B"', '\\u00c5sa \\"B\\"'),
        ("Bob", "Bob"),
    ]


def test_repeats_and_blank_strings_are_dropped_and_told():
    answer = parse('{"person": ["Ada", "Ada", " ", "Ada"], "date": ["Ada"]}', "object", TYPES)
    assert (said(answer), answer.status) == ([("person", "Ada"), ("date", "Ada")], "valid")
    assert answer.notes == ("a blank string", "2 said again")
    assert answer.mentions[0].span == (13, 16)


def test_a_string_of_a_question_about_one_type_is_of_that_type():
    types = entity_types(["date"])
    assert said(parse('["1815"]', "object", types)) == [("date", "1815")]
    assert said(parse('["1815"]', "pairs", types)) == []


def test_nothing_is_too_deep_or_too_long():
    for raw in ("[" * 100_000, '{"person":' * 20_000, "[" * 50_000 + '"Ada"' + "]" * 50_000, '["a", b, ' * 2_000):
        assert parse(raw, "object", TYPES).status != "valid"
