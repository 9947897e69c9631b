"""Training batches: which texts, which types are asked for, and what is right, all a function of the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samner.backbones.language_model.token_classification.inputs import Question, Reader
from samner.backbones.training import Paraphrases, TrainingSet, reworded
from samner.entities import Example
from samner.spans import ROLES, mark, word_spans
from samner.words import Word, words

if TYPE_CHECKING:
    from samner.backbones.language_model.token_classification.training import Recipe

_BLOCK = 384  # texts drawn at a time and put into batches of like length
_MANY_TYPES = 30  # a data set with more types than this is never asked for all of them at once


class Batches:
    """The batches of a training run.

    Data sets are drawn in proportion to their size to the power of ``flatten``, times their own weight. Types are
    asked for in random order: all that occur in the text, and types of the same data set that do not, so that what is
    missing is known to be missing. Batch ``step`` depends on nothing but the seed and ``step``.

    Args:
        sets: The labelled data.
        reader: Of the base.
        recipe: Settings; of the types that occur in a text at most ``max_types`` are asked for.
        paraphrases: Other ways to say a type's prompt.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        reader: Reader,
        recipe: Recipe,
        paraphrases: Paraphrases,
    ) -> None:
        self._sets = sets
        self._reader = reader
        self._recipe = recipe
        self._paraphrases = paraphrases
        weights = np.array([s.weight * len(s.examples) ** recipe.flatten for s in sets])
        self._weights = weights / weights.sum()
        self._prompts = [{t.name: t.prompt for t in s.types} for s in sets]
        self._next = 0
        self._stream = self._all()

    def __call__(self, step: int) -> list[tuple[Question, Tensor]]:
        """The questions of a step, each with its W x T x 3 targets."""
        if step < self._next:
            self._next, self._stream = 0, self._all()
        while self._next < step:  # a resumed run goes through what it has seen, which costs no model
            next(self._stream)
            self._next += 1
        self._next += 1
        return next(self._stream)

    def _all(self) -> Iterator[list[tuple[Question, Tensor]]]:
        block = 0
        while True:
            rng = np.random.default_rng([self._recipe.seed, block])
            drawn = [item for item in (self._draw(rng) for _ in range(_BLOCK)) if item is not None]
            drawn.sort(key=lambda item: len(item[0].ids))
            batches: list[list[tuple[Question, Tensor]]] = [[]]
            for item in drawn:
                if batches[-1] and len(item[0].ids) * (len(batches[-1]) + 1) > self._recipe.batch_tokens:
                    batches.append([])
                batches[-1].append(item)
            for i in rng.permutation(len(batches)):
                if batches[i]:
                    yield batches[i]
            block += 1

    def _draw(self, rng: np.random.Generator) -> tuple[Question, Tensor] | None:
        index = int(rng.choice(len(self._sets), p=self._weights))
        prompts = self._prompts[index]
        examples = self._sets[index].examples
        example = self._part(examples[int(rng.integers(len(examples)))], rng)
        present = sorted({e.label for e in example.entities if e.label in prompts})
        if not present and rng.random() < 0.5:  # texts without an entity teach less
            return None
        asked = self._types(present, list(prompts), rng)
        (tokens,) = self._reader.tokenize([example.text])
        if not tokens.words:
            return None
        rate = self._recipe.paraphrase_rate
        types = self._reader.types([reworded(prompts[name], self._paraphrases, rate, rng) for name in asked])
        return self._reader.question(tokens, types), targets(example, asked, tokens.words)

    def _types(self, present: list[str], every: list[str], rng: np.random.Generator) -> list[str]:
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


def targets(example: Example, names: Sequence[str], its_words: Sequence[Word]) -> Tensor:
    """W x T x 3: how surely (gold: zeros and ones) words start, end or are inside an entity of which type.

    An entity that begins or ends inside a word is widened to the whole word.
    """
    columns = {name: i for i, name in enumerate(names)}
    result = torch.zeros(len(its_words), len(names), len(ROLES))
    mark(result, word_spans(example.entities, its_words, columns), columns)
    return result
