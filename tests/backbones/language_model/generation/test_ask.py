from __future__ import annotations

import json
import math
from collections import Counter, defaultdict

import pytest

from samner.backbones.language_model.generation.ask import Generated, ask, confidence
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.entities import EntityType

TYPES = (EntityType("person"), EntityType("drug"))


class Answers:
    """An engine whose models always say the same, a token a character, each with probability 1/2."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def answer(self, questions):
        self.asked += questions
        said = [self.answers[question.model] for question in questions]
        return [Generated(text, tuple(text), (math.log(0.5),) * len(text)) for text in said]


def run(engine, texts, name="json-by-type", threshold=0.1, constrained=False):
    statistics = defaultdict(Counter)
    models = list(engine.answers)
    found = ask(
        engine, load_prompt(name), texts, TYPES, models, threshold, constrained=constrained, statistics=statistics
    )
    return found, statistics


def test_every_occurrence_of_what_was_answered_is_found():
    engine = Answers(a='{"person": ["Ada", "Bob"], "drug": ["aspirin"]}', b="no idea")
    found, statistics = run(engine, ["Ada met Ada. Aspirin?", "Bob"])
    keys = [[(*e.key, e.aligned, e.score) for e in entities] for entities in found["a"]]
    score = pytest.approx(0.25)
    assert keys == [
        [(0, 3, "person", "exact", score), (8, 11, "person", "exact", score), (13, 20, "drug", "normalised", score)],
        [(0, 3, "person", "exact", score)],
    ]
    assert found["b"] == [[], []]
    assert statistics["a"] == Counter(answers=2, valid=2, entities=4, normalised=1, not_found=3)
    assert statistics["b"] == Counter(answers=2, unreadable=2, entities=0, normalised=0, not_found=0)


def test_a_threshold_leaves_out_what_is_unsure():
    engine = Answers(a='{"person": ["Ada"], "drug": []}')
    assert run(engine, ["Ada"], threshold=0.6)[0] == {"a": [[]]}


def test_a_question_for_each_type():
    engine = Answers(a='["Ada"]')
    found, statistics = run(engine, ["Ada"], "one-type", constrained=True)
    assert {e.label for e in found["a"][0]} == {"person", "drug"}
    assert statistics["a"]["answers"] == 2
    assert [question.constraint.labels for question in engine.asked] == [("person",), ("drug",)]


def test_half_of_a_surrogate_pair_is_asked_about_as_a_question_mark():
    engine = Answers(a=json.dumps({"person": ["?"], "drug": []}))
    found, _ = run(engine, ["Ada \ud83d"], constrained=True)
    assert "\ud83d" not in engine.asked[0].text + engine.asked[0].constraint.text
    assert [e.key for e in found["a"][0]] == [(4, 5, "person")]


@pytest.mark.parametrize(
    ("span", "expected"),
    [((1, 3), 0.1 * 0.2), ((0, 1), 0.1), ((2, 4), (0.2 * 0.3 * 0.4) ** (1 / 3)), ((3, 4), 0.2 * (0.3 * 0.4) ** 0.5)],
)
def test_confidence_is_of_the_tokens_that_opened_and_wrote_the_string(span, expected):
    tokens, probabilities = ("[", "ab", "", "c", "]"), (0.1, 0.2, 0.3, 0.4, 0.5)  # "c" took two tokens
    answer = Generated("[abc]", tokens, tuple(map(math.log, probabilities)))
    assert confidence(answer, span) == pytest.approx(expected)


def test_an_engine_without_probabilities_is_sure():
    assert confidence(Generated("ab", (), ()), (0, 1)) == 1.0
