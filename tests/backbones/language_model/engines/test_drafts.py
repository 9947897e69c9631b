"""Drafts change how many passes an answer takes, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samner.backbones.language_model.engines.drafts import Draft, Drafts, turns
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.generation.answer_format import Constraint
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.backbones.mixed_batch import MixedModels
from samner.entities import entity_types
from tests.backbones.language_model.tiny_llama import tiny_llama, tiny_tokenizer

TYPES = entity_types(["river", "city"])
TEXTS = ["The Rhine and the Elbe flow through Lyon and Bonn .", "Tours .", "Volga and Elbe , Bonn"]
PROMPT = load_prompt("json-short")
ANSWERS = ['{"river": ["Rhine", "Elbe"], "city": ["Bonn"]}', '{"river": [], "city": ["Lyon", "Tours"]}']
TOKENIZER = tiny_tokenizer(texts=ANSWERS * 9)
END = 0


def tokens(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return ids


def questions(*, constrained: bool = True, model: str = "base") -> list[Question]:
    return [
        Question(
            model, PROMPT.questions(text, TYPES)[0], Constraint.of(PROMPT.format, TYPES, text) if constrained else None
        )
        for text in TEXTS
    ]


def engine(seed: int = 0, most: int = 120) -> LocalEngine:
    return LocalEngine(tiny_llama(seed), TOKENIZER, MixedModels({}), PROMPT, most)


@contextmanager
def drafted(*drafts: list[int]) -> Iterator[None]:
    """Within, the questions have these drafts, in turn."""
    with pytest.MonkeyPatch.context() as patch:
        given_out = iter(drafts)
        patch.setattr(Drafts, "of", lambda *_: Draft(next(given_out, [])))
        yield


@contextmanager
def passes(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of what a model reads within."""
    shapes: list[tuple[int, ...]] = []
    embeddings = model.get_input_embeddings()
    handle = embeddings.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    try:
        yield shapes
    finally:
        handle.remove()


def assert_same(found: list[Generated], expected: list[Generated]) -> None:
    assert [g.text for g in found] == [g.text for g in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.token_texts == other.token_texts
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-4)


@pytest.fixture(scope="module", params=[(0, 120, True), (1, 120, True), (2, 120, True), (3, 9, True), (0, 40, False)])
def plain(request: pytest.FixtureRequest) -> tuple[LocalEngine, list[Question], list[Generated]]:
    """An engine, questions, and their answers without drafts."""
    seed, most, constrained = request.param
    one, asked = engine(seed, most), questions(constrained=constrained)
    with drafted():
        return one, asked, one.answer(asked)


DRAFTS: dict[str, Callable[[str], list[int]]] = {
    "right": lambda text: [*tokens(text), END],
    "without an end": tokens,
    "longer": lambda text: [*tokens(text), END, *tokens(ANSWERS[0])],
    "longer, with no end": lambda text: tokens(text + ANSWERS[0]),
    "wholly wrong": lambda text: tokens("The Volga")[:3] * 9,
    "right at first": lambda text: [*tokens(text)[: len(tokens(text)) // 2], *tokens('"Kazan"], "x": 3')],
    "right at last": lambda text: [*tokens('{"river": ["Seine"]'), *tokens(text)[len(tokens(text)) // 2 :], END],
    "a string said twice": lambda text: tokens('{"river": ["Elbe", "Elbe", "Elbe"], "city": ["Bonn", "Bonn"]}'),
    "the end": lambda text: [END] * 5,
}


@pytest.mark.parametrize("kind", DRAFTS)
def test_answers_are_those_without_drafts(plain: tuple[Any, ...], kind: str) -> None:
    one, asked, expected = plain
    with drafted(*(DRAFTS[kind](answer.text) for answer in expected)):
        assert_same(one.answer(asked), expected)
    with drafted([], DRAFTS[kind](expected[1].text)):  # of one row only
        assert_same(one.answer(asked), expected)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_draft_gives_the_same_answer(plain: tuple[Any, ...], data: st.DataObject) -> None:
    one, asked, expected = plain
    drafts = []
    for answer in expected:
        right = [*tokens(answer.text), END]
        parts = st.one_of(
            st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=6),
            st.tuples(st.integers(0, len(right)), st.integers(0, len(right))).map(
                lambda cut, its=right: its[cut[0] : cut[1]]
            ),
            st.sampled_from(ANSWERS).map(tokens),
        )
        drafts.append([token for part in data.draw(st.lists(parts, max_size=4)) for token in part])
    with drafted(*drafts):
        assert_same(one.answer(asked), expected)


def test_a_right_draft_is_read_with_its_question() -> None:
    one, asked = engine(), questions()
    with drafted():
        expected = one.answer(asked)
    written = [tokens(answer.text) for answer in expected]
    assert all("".join(answer.token_texts) == answer.text for answer in expected)
    with passes(one._model) as without, drafted():
        one.answer(asked)
    with passes(one._model) as shapes, drafted(*([*its, END] for its in written)):
        assert_same(one.answer(asked), expected)
    assert len(shapes) < len(without) / 2


def test_without_another_answer_the_draft_is_that_there_is_nothing() -> None:
    constraint = Constraint.of("object", TYPES, TEXTS[0])
    drafts, question = Drafts(TOKENIZER, END), Question("a", "?", constraint)
    assert drafts.of(question).coming(99) == [*tokens('{"river": [], "city": []}'), END]
    assert drafts.of(question._replace(constraint=None)).coming(99) == []
    drafts.add(question, [5, 6])
    assert drafts.of(question._replace(model="b")).coming(99) == [5, 6]
    assert drafts.of(question._replace(text="!")).coming(99) != [5, 6]


@pytest.mark.parametrize(("form", "nothing"), [("sparse", "{}"), ("pairs", "[]"), ("list", "[]")])
def test_nothing_in_other_forms(form: str, nothing: str) -> None:
    assert json.dumps(Constraint.of(form, TYPES, "").nothing()) == nothing


def test_a_draft_that_was_left_is_found_again_behind_what_is_forced() -> None:
    draft = Draft([1, 2, 3, 4, 5, 6, 7])
    assert draft.coming(2) == [1, 2] and draft.coming(-1) == []
    draft.follow(1, [2])
    assert draft.coming(9) == [3, 4, 5, 6, 7]
    draft.follow(9, [])
    assert draft.coming(9) == []
    draft.follow(8, [5])  # which may stand anywhere
    assert draft.coming(9) == []
    draft.follow(9, [4, 5])
    assert draft.coming(9) == [6, 7]


def test_those_who_wait_are_asked_what_others_have_answered() -> None:
    asked = [Question(model, text) for text in "xy" for model in ("a", "b", "c")]
    assert turns(asked, lambda _: False) == [[0, 1, 2, 3, 4, 5]]
    assert turns(asked, lambda model: model != "a") == [[0, 1, 3, 4], [2, 5]]
    assert turns(asked, lambda _: True) == [[0, 3], [1, 4], [2, 5]]
    assert turns([], lambda _: True) == []
