"""Training batches of single texts, each asked for types of its own: what is drawn is a function of the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
from pydantic import Field

from samner.backbones.training import Paraphrases, TrainingRecipe, TrainingSet, reworded
from samner.entities import EntityType, Example
from samner.words import words

_BLOCK = 384  # texts drawn at a time and put into batches of like length
_MANY_TYPES = 30  # a data set with more types than this is never asked for all of them at once

Item = TypeVar("Item")


class DrawnRecipe(TrainingRecipe):
    """Settings of a training run on such batches.

    Attributes:
        batch_tokens: Padded tokens in a batch, about; what asks for the types counts.
        max_words: Of a longer text a random part of this many words is read.
        flatten: Data sets are drawn in proportion to their size to the power of this.
    """

    batch_tokens: int = Field(default=1024, gt=0)
    max_words: int = Field(default=100, gt=0)
    flatten: float = Field(default=0.4, ge=0, le=1)


class DrawnBatches(Generic[Item]):
    """The batches of a training run.

    Data sets are drawn in proportion to their size to the power of ``flatten``, times their own weight. Types are
    asked for in random order: all that occur in the text, and types of the same data set that do not, so that what is
    missing is known to be missing. Batch ``step`` depends on nothing but the seed and ``step``.

    Args:
        sets: The labelled data.
        recipe: Settings; of the types that occur in a text at most ``max_types`` are asked for.
        paraphrases: Other ways to say a type's prompt.
        make: Makes what a model reads of a text, the types that it is asked for, and their prompts or what is said
            instead; none of a text without a word.
        cost: Its tokens.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        recipe: DrawnRecipe,
        paraphrases: Paraphrases,
        make: Callable[[Example, Sequence[EntityType], Sequence[str]], Item | None],
        cost: Callable[[Item], int],
    ) -> None:
        self._sets = sets
        self._recipe = recipe
        self._paraphrases = paraphrases
        self._make, self._cost = make, cost
        weights = np.array([s.weight * len(s.examples) ** recipe.flatten for s in sets])
        self._weights = weights / weights.sum()
        self._types = [{t.name: t for t in s.types} for s in sets]
        self._next = 0
        self._stream = self._all()

    def __call__(self, step: int) -> list[Item]:
        """The items of a step."""
        if step < self._next:
            self._next, self._stream = 0, self._all()
        while self._next < step:  # a resumed run goes through what it has seen, which costs no model
            next(self._stream)
            self._next += 1
        self._next += 1
        return next(self._stream)

    def _all(self) -> Iterator[list[Item]]:
        block = 0
        while True:
            rng = np.random.default_rng([self._recipe.seed, block])
            drawn = [item for item in (self._draw(rng) for _ in range(_BLOCK)) if item is not None]
            drawn.sort(key=self._cost)
            batches: list[list[Item]] = [[]]
            for item in drawn:
                if batches[-1] and self._cost(item) * (len(batches[-1]) + 1) > self._recipe.batch_tokens:
                    batches.append([])
                batches[-1].append(item)
            for i in rng.permutation(len(batches)):
                if batches[i]:
                    yield batches[i]
            block += 1

    def _draw(self, rng: np.random.Generator) -> Item | None:
        index = int(rng.choice(len(self._sets), p=self._weights))
        types = self._types[index]
        examples = self._sets[index].examples
        example = self._part(examples[int(rng.integers(len(examples)))], rng)
        present = sorted({e.label for e in example.entities if e.label in types})
        if not present and rng.random() < 0.5:  # texts without an entity teach less
            return None
        asked = [types[name] for name in self._asked(present, list(types), rng)]
        rate = self._recipe.paraphrase_rate
        return self._make(example, asked, [reworded(t.prompt, self._paraphrases, rate, rng) for t in asked])

    def _asked(self, present: list[str], every: list[str], rng: np.random.Generator) -> list[str]:
        occurring = set(present)
        absent = [name for name in every if name not in occurring]
        rng.shuffle(absent)
        if len(present) > self._recipe.max_types:
            rng.shuffle(present)
            present = present[: self._recipe.max_types]
        if len(every) > _MANY_TYPES:
            absent = absent[: int(rng.integers(1, max(4, min(12, len(present) + 4))))]
        elif rng.random() < 0.5:
            absent = absent[: int(rng.integers(0, len(absent) + 1))]
        asked = present + absent or every[:1]
        rng.shuffle(asked)
        return asked

    def _part(self, example: Example, rng: np.random.Generator) -> Example:
        spans = words(example.text)
        if len(spans) <= self._recipe.max_words:
            return example
        first = int(rng.integers(len(spans) - self._recipe.max_words + 1))
        start, end = spans[first][0], spans[first + self._recipe.max_words - 1][1]
        return example.part(start, end)
