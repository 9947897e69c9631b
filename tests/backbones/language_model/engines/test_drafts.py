"""Drafts change how many passes an answer takes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samner.backbones.language_model.engines.drafts import Draft, Drafts, turns
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.engines.repetition import Lists
from samner.backbones.language_model.engines.rows import Row, Seen
from samner.backbones.language_model.engines.vocabulary import Vocabulary
from samner.backbones.language_model.generation.answer_format import Constraint, Grammars
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
def drafted(asked: Sequence[Question] = (), drafts: Sequence[list[int]] = ()) -> Iterator[None]:
    """Within, the first of the questions have these drafts, and others none."""
    by_question = dict(zip(asked, drafts, strict=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drafts, "of", lambda _, question: Draft(by_question.get(question, [])))
        yield


def written(one: LocalEngine, asked: list[Question]) -> tuple[list[Generated], list[list[int]]]:
    """The answers without drafts, and their tokens."""
    said: dict[Question, list[int]] = {}
    with drafted(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drafts, "add", lambda _, question, ids: said.update({question: ids}))
        answers = one.answer(asked)
    return answers, [said[question] for question in asked]


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


Plain = tuple[LocalEngine, list[Question], list[Generated], list[list[int]]]


@pytest.fixture(scope="module", params=[(0, 120, True), (1, 120, True), (2, 120, True), (3, 9, True), (0, 40, False)])
def plain(request: pytest.FixtureRequest) -> Plain:
    """An engine, questions, and their answers without drafts."""
    seed, most, constrained = request.param
    one, asked = engine(seed, most), questions(constrained=constrained)
    return one, asked, *written(one, asked)


DRAFTS: dict[str, Callable[[list[int]], list[int]]] = {
    "right": lambda its: its,
    "shorter": lambda its: its[:-3],
    "longer": lambda its: its * 2,
    "longer, with no end": lambda its: [*its[:-1], *tokens(ANSWERS[0])],
    "wholly wrong": lambda _: tokens("The Volga")[:3] * 9,
    "right at first": lambda its: [*its[: len(its) // 2], *tokens('"Kazan"], "x": 3')],
    "right at last": lambda its: [*tokens('{"river": ["Seine"]'), *its[len(its) // 2 :]],
    "a string said twice": lambda _: tokens('{"river": ["Elbe", "Elbe", "Elbe"], "city": ["Bonn", "Bonn"]}'),
    "the end": lambda _: [END] * 5,
}


@pytest.mark.parametrize("kind", DRAFTS)
def test_answers_are_those_without_drafts(plain: Plain, kind: str) -> None:
    one, asked, expected, its = plain
    with drafted(asked, list(map(DRAFTS[kind], its))):
        assert_same(one.answer(asked), expected)
    with drafted(asked, [[], DRAFTS[kind](its[1])]):  # of one row only
        assert_same(one.answer(asked), expected)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_draft_gives_the_same_answer(plain: Plain, data: st.DataObject) -> None:
    one, asked, expected, its = plain
    parts = st.one_of(
        st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=6),
        st.builds(lambda row, start, stop: its[row][start:stop], *(st.integers(0, n) for n in (2, 60, 60))),
        st.sampled_from(ANSWERS).map(tokens),
    )
    drafts = data.draw(st.lists(st.lists(parts, max_size=4).map(lambda many: [*chain(*many)]), max_size=3))
    with drafted(asked, drafts):
        assert_same(one.answer(asked), expected)


@pytest.mark.parametrize("most", [3, 5, 7])
def test_a_draft_may_end_amid_what_is_forced(most: int) -> None:
    """What is read later of a type's name is still no string of a list, and a string that comes again is known."""
    said = [*tokens('{"tributary": ["Rhine"], "metropolis": ["Bonn", "Tours", "Bonn", "Lyon"]}'), END]
    constraint = Constraint.of("object", entity_types(["tributary", "metropolis"]), "Rhine Bonn Tours Lyon")
    (matcher,) = Grammars(TOKENIZER, len(TOKENIZER), [END]).matchers([constraint])
    row = Row([1], 0, matcher, Vocabulary(TOKENIZER, [END]), 120, lists=Lists(), draft=Draft(said))
    column = 0
    while not row.done:
        row.guess_ahead(most)
        logits = torch.zeros(1, 1 + len(row.behind), len(TOKENIZER))
        for i in range(len(row.behind) + 1):
            before = [*row.tokens, *row.behind[:i]]
            following = said[len(before) : len(before) + 1] if said[: len(before)] == before else []
            logits[0, i, following or END] = 9
        row.read(*Seen.of(logits, [len(row.behind) + 1]), column)
        column += len(row.behind) + 1
    assert TOKENIZER.decode(row.tokens[:-1]) == '{"tributary": ["Rhine"], "metropolis": ["Bonn", "Tours"]}'


@pytest.mark.parametrize("constrained", [True, False])
def test_a_right_draft_is_read_with_its_question(constrained: bool) -> None:
    one, asked = engine(most=40), questions(constrained=constrained)
    expected, its = written(one, asked)
    with passes(one._model) as shapes, drafted(asked, its):
        assert_same(one.answer(asked), expected)
    assert (
        len(shapes) <= 4
    )  # the first reads what all questions begin with; where a list was ended, one more is needed


def test_without_another_answer_the_draft_is_that_there_is_nothing() -> None:
    constraint = Constraint.of("object", TYPES, TEXTS[0])
    drafts, question = Drafts(TOKENIZER, END), Question("a", "?", constraint)
    assert drafts.of(question).coming(99) == [*tokens('{"river": [], "city": []}'), END]
    assert drafts.of(question._replace(constraint=None)).coming(99) == []
    drafts.add(question, [5, 6])
    assert drafts.of(question._replace(model="b")).coming(99) == [5, 6]
    assert drafts.of(question._replace(text="!")).coming(99) != [5, 6]


@pytest.mark.parametrize("form", ["pairs", "list"])
def test_nothing_in_other_forms(form: str) -> None:
    assert Constraint.of(form, TYPES, "").nothing() == []


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


def test_an_answer_is_the_draft_of_the_next_who_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    one, asked = engine(most=40), questions()
    expected = one.answer(asked)
    monkeypatch.setattr(one, "_waits", lambda _: True)
    with passes(one._model) as shapes:
        assert_same(one.answer(asked * 2), expected * 2)
    again = next(i for i, (rows, tokens) in enumerate(shapes) if i > 1 and rows == len(asked) and tokens > 20)
    assert len(shapes) - again <= 3 < again


def test_a_window_that_moves_is_not_drafted_for() -> None:
    one, asked = engine(most=20), questions()
    one._ahead = False
    with passes(one._model) as shapes:
        one.answer(asked)
    assert {tokens for _, tokens in shapes[1:]} == {1}
