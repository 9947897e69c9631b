"""Lists in answers hold no string twice: what is read of them, and what an engine does about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.engines.repetition import Lists
from samner.backbones.language_model.generation.answer_format import Constraint
from samner.backbones.language_model.generation.ask import Question
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.backbones.mixed_batch import MixedModels
from samner.entities import entity_types
from tests.backbones.language_model.tiny_llama import tiny_llama, tiny_tokenizer

TYPES = entity_types(["river", "city"])
TEXTS = [
    f"The {river} and the Elbe flow through {city} and Bonn ."
    for river in ("Rhine", "Volga")
    for city in ("Lyon", "Tours")
]


def read(tokens: list[str]) -> list[tuple[int, int]]:
    """After how many tokens a list is to end, and where."""
    lists, found = Lists(), []
    for i, token in enumerate(tokens):
        if ending := lists.read([token], i, lambda: (7, -1.0)):
            found.append((i, ending.tokens))
    return found


def test_a_list_ends_before_the_string_that_comes_again() -> None:
    tokens = ['{"', "a", '":', ' ["', "x", '",', ' "', "y", '",', ' "', "x", '",', ' "', "x", '"],', ' "', "b", '":']
    assert read(tokens) == [(11, 8)]


def test_each_list_has_its_own_strings_and_keys_are_none() -> None:
    assert read(['{"', "a", '":', ' ["', "x", '",', ' "', "a", '"],', ' "', "x", '":', ' ["', "x", '"]', "}"]) == []


def test_a_quotation_mark_within_a_string_does_not_end_it() -> None:
    assert read(['["', "x", '\\"', '",', ' "', "x", '",', ' "', "x", '\\"', '"]']) == [(10, 6)]


def test_a_list_never_ends_at_a_quotation_mark_of_a_string() -> None:
    string = ["a", "\\", '"', 'b"']
    assert read(['["', *string, ', "', *string]) == []
    assert read(['["', "x", '",', ' "', *string, ', "', *string]) == [(12, 2)]


def test_forced_tokens_are_read_and_never_taken_for_a_choice() -> None:
    lists = Lists()
    assert lists.read(['["', "x", '",'], 0, lambda: (7, -1.0)) is None
    assert lists.read([' "', "y", '",'], 3, lambda: (8, -2.0)) is None
    ending = lists.read([' "', "x", '",'], 6, lambda: None)
    assert ending is not None and (ending.tokens, ending.token, ending.logprob) == (3, 8, -2.0)


@given(
    st.lists(st.lists(st.text('ab\\"[], ', min_size=1, max_size=3), unique=True, max_size=4), max_size=3),
    st.integers(1, 4),
)
def test_nothing_is_taken_back_where_nothing_is_said_twice(lists: list[list[str]], width: int) -> None:
    answer = json.dumps({f"t{i}": its for i, its in enumerate(lists)})
    assert read([answer[i : i + width] for i in range(0, len(answer), width)]) == []


@pytest.fixture(scope="module")
def engine() -> Any:
    answers = ['{"river": ["Rhine", "Elbe"], "city": ["Bonn"]}', '{"river": [], "city": ["Lyon", "Tours"]}'] * 9
    tokenizer = tiny_tokenizer(texts=answers)
    assert any(token.startswith('"]') for token in tokenizer.get_vocab())
    return lambda seed: LocalEngine(tiny_llama(seed), tokenizer, MixedModels({}), load_prompt("json-short"), 200)


def asked(only: slice = slice(None)) -> list[Question]:
    prompt = load_prompt("json-short")
    return [
        Question("base", prompt.questions(text, TYPES)[0], Constraint.of(prompt.format, TYPES, text))
        for text in TEXTS[only]
    ]


@pytest.mark.parametrize("seed", range(4))
def test_answers_say_nothing_twice_and_end(engine: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = engine(seed).answer(asked())
    for answer in found:
        for strings in json.loads(answer.text).values():
            assert len(set(strings)) == len(strings)
        assert len(answer.token_texts) == len(answer.logprobs)
    alone = [engine(seed).answer([question])[0].text for question in asked()]
    assert [answer.text for answer in found] == alone

    monkeypatch.setattr(Lists, "read", lambda *_: None)
    for without, answer in zip(engine(seed).answer(asked()), found, strict=True):
        if without.text != answer.text:  # up to what was said twice they are the same
            same = next(i for i, (a, b) in enumerate(zip(without.text, answer.text, strict=False)) if a != b)
            assert answer.text[:same].count('"') > 4 and answer.text[same - 1 :].startswith('"]')
