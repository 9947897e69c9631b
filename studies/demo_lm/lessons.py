"""What the base is taught: to copy, to follow the prompt, and a little of what the domains' types are.

- **repeat**: a text of any field, then the same text once more. Every token counts: this is where it learns the words
  and, soonest, to copy.
- **names**: a text of any field, its slots filled with names of whatever type, and the question for its ``name``s: it
  learns to find and to copy names wherever they stand, but not what they are.
- **typed**: a text of one of the base's own fields and a question for some of its types and some that are not there.
- **hint**: the same of a domain. Rare, for what a large model picked up of these types before any expert is trained:
  experts that first have to learn what a type is merge badly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import SftExample, encode
from samner.entities import EntityType, Example
from studies.demo_lm.generate import Field, Names, labelled, read_fields, read_foreign, texts

NAME = "name"
"""The type that any entity is of, for the base alone."""

_MOST_TYPES = 6
COMMON = 0.4
"""Share of the clauses that are said of anything."""


class Lessons:
    """Questions and answers that never repeat.

    Args:
        tokenizer: Of the base.
        prompt: How it is asked.
        shares: Of each lesson.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, shares: Mapping[str, float]) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._shares = shares
        self._names = Names()
        self._domains, self._own = list(read_fields("domains").values()), list(read_fields("base").values())
        self._every = [*self._domains, *self._own]
        self._nobodys = read_foreign()
        self._kinds = tuple(name for field in self._every for name in field.types)
        self._absent = sorted({*self._nobodys, *(t for field in self._own for t in field.types)})

    def rows(self, rng: random.Random) -> Iterator[dict[str, list[int]]]:
        """Questions with their answers as tokens, without end."""
        plain = {field.name: self._texts(field, rng) for field in self._every}
        mixed = {field.name: self._texts(field, rng, self._kinds) for field in self._every}
        lessons = {"repeat": self._repeat, "names": self._all_names, "typed": self._typed, "hint": self._typed}
        typed = {"typed": self._own, "hint": self._domains}
        while True:
            lesson = rng.choices(list(self._shares), list(self._shares.values()))[0]
            field = rng.choice(typed.get(lesson, self._every))
            streams = plain if lesson in typed else mixed
            yield lessons[lesson](next(streams[field.name]), field, rng)

    def _texts(self, field: Field, rng: random.Random, kinds: Sequence[str] = ()) -> Iterator[Example]:
        return texts(field, "train", self._names, rng, common=COMMON, kinds=kinds)

    def _repeat(self, example: Example, field: Field, rng: random.Random) -> dict[str, list[int]]:
        (row,) = encode([SftExample(example.text + "\n", example.text)], self._tokenizer)
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
        mentions = [(example.text[e.start : e.end], e.label) for e in labelled(example, own).entities]
        question = self._prompt.plain(self._prompt.questions(example.text, types)[0])
        (row,) = encode([SftExample(question, self._prompt.answer(mentions, types)[0])], self._tokenizer)
        return row
