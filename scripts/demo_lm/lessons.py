"""What the base is taught: to copy, and to follow the prompt, but none of the domains' types.

- **repeat**: a text of any field, then the same text once more. Every token counts: this is where it learns the words
  and, soonest, to copy.
- **names**: a text of any field and the question for its ``name``s, all entities whatever their type.
- **typed**: a text of one of the base's own fields and a question for some of its types and some that are not there,
  the domains' among them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from samner.backbones.causal.examples import SftExample, encode
from samner.backbones.causal.prompting import Prompt
from samner.types import EntityType, Example
from scripts.demo_lm.generate import Field, Names, read_fields, read_foreign, texts

NAME = "name"
"""The type that any entity is of, for the base alone."""

_MOST_TYPES = 6
_BUCKETS = 16
"""Batches that are drawn together and sorted by length, so that little of them is padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens, which of them are not padding, and those that count for the loss (others -100), of one shape."""

    ids: Tensor
    mask: Tensor
    labels: Tensor


class Lessons:
    """Batches of questions and answers that never repeat; a batch is a function of the seed and the step.

    Args:
        tokenizer: Of the base.
        prompt: How it is asked.
        shares: Of each lesson.
        batch: Questions in a batch.
        seed: Of everything random.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, shares: Mapping[str, float], batch: int, seed: int) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._shares = shares
        self._size = batch
        self._seed = seed
        self._names = Names()
        domains, own = read_fields("domains"), read_fields("base")
        self._own = list(own.values())
        self._every = [*domains.values(), *self._own]
        self._nobodys = read_foreign()
        self._absent = sorted({*self._nobodys, *(t for field in self._every for t in field.types)})
        self._drawn: tuple[int, list[Batch]] = (-1, [])

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        number, place = divmod(step, _BUCKETS)
        if self._drawn[0] != number:
            self._drawn = (number, self._bucket(number))
        return self._drawn[1][place]

    def rows(self, rng: random.Random) -> Iterator[dict[str, list[int]]]:
        """Questions with their answers as tokens, without end."""
        streams = {field.name: texts(field, "train", self._names, rng) for field in self._every}
        lessons = {"repeat": self._repeat, "names": self._all_names, "typed": self._typed}
        while True:
            lesson = rng.choices(list(self._shares), list(self._shares.values()))[0]
            field = rng.choice(self._own if lesson == "typed" else self._every)
            yield lessons[lesson](next(streams[field.name]), field, rng)

    def _bucket(self, number: int) -> list[Batch]:
        rng = random.Random(f"{self._seed}/{number}")
        rows = self.rows(rng)
        drawn = sorted((next(rows) for _ in range(self._size * _BUCKETS)), key=lambda row: len(row["input_ids"]))
        batches = [collate(drawn[i : i + self._size]) for i in range(0, len(drawn), self._size)]
        rng.shuffle(batches)
        return batches

    def _repeat(self, example: Example, field: Field, rng: random.Random) -> dict[str, list[int]]:
        row = encode(SftExample(example.text + "\n", example.text), self._tokenizer)
        return {"input_ids": row["input_ids"], "labels": row["input_ids"]}

    def _all_names(self, example: Example, field: Field, rng: random.Random) -> dict[str, list[int]]:
        named = Example(example.text, tuple(replace(entity, label=NAME) for entity in example.entities))
        return self._question(named, [NAME], self._nobodys, rng)

    def _typed(self, example: Example, field: Field, rng: random.Random) -> dict[str, list[int]]:
        own = rng.sample(field.types, rng.randint(1, len(field.types)))
        return self._question(example, own, [t for t in self._absent if t not in field.types], rng)

    def _question(
        self, example: Example, own: Sequence[str], absent: Sequence[str], rng: random.Random
    ) -> dict[str, list[int]]:
        asked = [*own, *rng.sample(absent, rng.randint(0, _MOST_TYPES - len(own)))]
        types = [EntityType(name) for name in rng.sample(asked, len(asked))]
        mentions = [(example.text[e.start : e.end], e.label) for e in example.entities]
        question = self._prompt.plain(self._prompt.questions(example.text, types)[0])
        return encode(SftExample(question, self._prompt.answer(mentions, types)[0]), self._tokenizer)


def collate(rows: Sequence[Mapping[str, Sequence[int]]]) -> Batch:
    """Rows of any length as one batch, padded at the end."""
    shape = len(rows), max(len(row["input_ids"]) for row in rows)
    ids, mask, labels = (
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
        torch.full(shape, -100),
    )
    for i, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[i, :length] = torch.tensor(row["input_ids"])
        labels[i, :length] = torch.tensor(row["labels"])
        mask[i, :length] = 1
    return Batch(ids, mask, labels)
