"""Distil the pool over SmolLM2 into fast models, and hold them against their teachers and the fast pool.

python -m studies.distillation --data ../shared/data --runs runs/distillation                 # measure what is missing
python -m studies.distillation --data ../shared/data --runs runs/distillation --texts 5000 --only news
python -m studies.distillation --data ../shared/data --runs runs/distillation --table docs/results.md
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samner.data import read_examples
from samner.entities import EntityType, Example, entity_types
from samner.training import training_set

TARGETS = (
    "crossner_ai",
    "crossner_literature",
    "crossner_music",
    "crossner_politics",
    "crossner_science",
    "mit_movie",
    "mit_restaurant",
)
NEWS = ("conll2003", "worldwide_newswire")
CASE = "cases/27-ordinary-news/gold.jsonl"
TEST = 200


@dataclass(frozen=True)
class Target:
    """What a model is distilled for.

    Args:
        name: For the table.
        types: What is looked for.
        unlabelled: Texts to adapt to and to learn from, whose labels are not looked at.
        test: Texts with their true entities, none of them unlabelled.
    """

    name: str
    types: tuple[EntityType, ...]
    unlabelled: list[str]
    test: list[Example]


def targets(data: Path, texts: int) -> Iterator[Target]:
    """The seven public targets and ordinary news, each with up to so many texts to learn from."""
    for name in TARGETS:
        test = read_examples(data / "target" / name / "test.jsonl")
        others = [*read_examples(data / "target" / name / "unlabeled.jsonl"), *test[TEST:]]
        yield target(name, training_set(name, test).types, others, test[:TEST], texts)
    gold = read_examples(data.parent / CASE)
    news = [data / "train" / "news" / name / f"{split}.jsonl" for name in NEWS for split in ("dev", "test")]
    others = [example for path in news for example in read_examples(path)]
    random.Random(0).shuffle(others)  # of both sets, and no texts that taught an expert
    types = entity_types(["person", "organization", "location", "date", "money"])
    yield target("news", types, others, gold, texts)


def target(name: str, types: tuple[EntityType, ...], others: list[Example], test: list[Example], texts: int) -> Target:
    tested = {example.text for example in test}
    unlabelled = [text for text in dict.fromkeys(example.text for example in others) if text not in tested]
    return Target(name, types, unlabelled[:texts], test)
