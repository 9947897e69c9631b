from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from samner.backbones.language_model.token_classification.batches import Batches, targets
from samner.backbones.language_model.token_classification.inputs import Reader
from samner.backbones.language_model.token_classification.training import Recipe
from samner.backbones.training import TrainingSet
from samner.entities import Entity, Example, entity_types
from samner.words import Word

EXAMPLES = [
    Example("Ada took aspirin .", (Entity(0, 3, "person"), Entity(9, 16, "drug"))),
    Example("Nothing here .", ()),
    Example("Bonn and Basel and Bern and Berlin .", (Entity(0, 4, "city"), Entity(9, 14, "city"))),
]


@pytest.fixture(scope="module")
def reader(lm: Path) -> Reader:
    from transformers import AutoTokenizer

    return Reader(AutoTokenizer.from_pretrained(lm))


def batches(reader: Reader, **changed: Any) -> Batches:
    sets = [TrainingSet("set", EXAMPLES, entity_types(["person", "drug", "city"]))]
    paraphrases = changed.pop("paraphrases", {})
    options = {"batch_tokens": 300, "max_words": 50, "flatten": 0.5, "paraphrase_rate": 0.0, **changed}
    return Batches(sets, reader, Recipe(**options), paraphrases)


def test_a_batch_depends_on_the_seed_and_the_step_alone(reader: Reader) -> None:
    one, other = batches(reader), batches(reader)
    first = [one(step) for step in range(30)]
    assert [q.ids for q, _ in other(20)] == [q.ids for q, _ in first[20]]  # as when a run is resumed
    assert [q.ids for q, _ in one(3)] == [q.ids for q, _ in first[3]]
    assert any([q.ids for q, _ in batches(reader, seed=1)(s)] != [q.ids for q, _ in first[s]] for s in range(5))


def test_batches_keep_to_their_size(reader: Reader) -> None:
    plan = batches(reader)
    for step in range(40):
        items = plan(step)
        assert len(items) * max(len(q.ids) for q, _ in items) <= 300 or len(items) == 1


def test_a_long_text_is_read_in_part(reader: Reader) -> None:
    plan = batches(reader, max_words=3)
    assert all(y.shape[0] <= 3 for step in range(20) for _, y in plan(step))


def test_types_are_called_by_other_names_now_and_then(reader: Reader) -> None:
    other = reader.types(["medicine"]).ids[-1]
    plan = batches(reader, paraphrases={"drug": ["medicine"]}, paraphrase_rate=0.9)
    plain = batches(reader)
    assert any(other in q.types.ids for step in range(10) for q, _ in plan(step))
    assert not any(other in q.types.ids for step in range(10) for q, _ in plain(step))


def test_targets_say_which_words_start_end_and_are_inside() -> None:
    example = Example("Ada Moreno took aspirin", (Entity(0, 10, "person"), Entity(16, 23, "drug")))
    words = [Word(0, 3, 1), Word(4, 10, 1), Word(11, 15, 1), Word(16, 23, 1)]
    y = targets(example, ["drug", "person"], words)
    expected = torch.zeros(4, 2, 3)
    expected[0, 1, 0] = expected[1, 1, 1] = expected[0, 1, 2] = expected[1, 1, 2] = 1
    expected[3, 0] = 1
    assert torch.equal(y, expected)


def test_an_entity_within_a_word_is_widened_to_it_and_types_not_asked_for_are_left_out() -> None:
    example = Example("pre-aspirin era", (Entity(4, 7, "drug"), Entity(12, 15, "time")))
    y = targets(example, ["drug"], [Word(0, 11, 1), Word(12, 15, 1)])
    assert y[0, 0].tolist() == [1, 1, 1]
    assert y[1].sum() == 0
