"""Training batches: which texts, which types are asked for, and what is right, all a function of the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from samner.backbones.base import Paraphrases, TrainingSet
from samner.backbones.language_model.token_classification.inputs import Question, Reader
from samner.backbones.language_model.token_classification.network import ROLES
from samner.entities import Example
from samner.windows import Word
from samner.words import words

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
        seed: Of every choice.
        batch_tokens: Padded sub-tokens in a batch, about.
        max_words: Of a longer text a random part of this many words is read.
        max_types: Types that occur in a text and are asked for, at most.
        flatten: Between 0 (every data set as often) and 1 (in proportion to its size).
        paraphrases: Other ways to say a type's prompt.
        paraphrase_rate: How often one of them is used.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        reader: Reader,
        *,
        seed: int,
        batch_tokens: int,
        max_words: int,
        max_types: int,
        flatten: float,
        paraphrases: Paraphrases,
        paraphrase_rate: float,
    ) -> None:
        self._sets = sets
        self._reader = reader
        self._seed = seed
        self._batch_tokens = batch_tokens
        self._max_words = max_words
        self._max_types = max_types
        self._paraphrases = paraphrases
        self._paraphrase_rate = paraphrase_rate
        weights = np.array([s.weight * len(s.examples) ** flatten for s in sets])
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
            rng = np.random.default_rng([self._seed, block])
            drawn = [item for item in (self._draw(rng) for _ in range(_BLOCK)) if item is not None]
            drawn.sort(key=lambda item: len(item[0].ids))
            batches: list[list[tuple[Question, Tensor]]] = [[]]
            for item in drawn:
                if batches[-1] and len(item[0].ids) * (len(batches[-1]) + 1) > self._batch_tokens:
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
        types = self._reader.types([self._say(prompts[name], rng) for name in asked])
        return self._reader.question(tokens, types), targets(example, asked, tokens.words)

    def _types(self, present: list[str], every: list[str], rng: np.random.Generator) -> list[str]:
        occurring = set(present)
        absent = [name for name in every if name not in occurring]
        rng.shuffle(absent)
        if len(present) > self._max_types:
            rng.shuffle(present)
            present = present[: self._max_types]
        if len(every) > _MANY_TYPES:
            absent = absent[: int(rng.integers(1, max(4, min(12, len(present) + 4))))]
        elif rng.random() < 0.5:
            absent = absent[: int(rng.integers(0, len(absent) + 1))]
        asked = present + absent or every[:1]
        rng.shuffle(asked)
        return asked

    def _say(self, prompt: str, rng: np.random.Generator) -> str:
        others = self._paraphrases.get(prompt)
        if others and rng.random() < self._paraphrase_rate:
            return str(others[int(rng.integers(len(others)))])
        return prompt

    def _part(self, example: Example, rng: np.random.Generator) -> Example:
        spans = words(example.text)
        if len(spans) <= self._max_words:
            return example
        first = int(rng.integers(len(spans) - self._max_words + 1))
        start, end = spans[first][0], spans[first + self._max_words - 1][1]
        return example.part(start, end)


def targets(example: Example, names: Sequence[str], its_words: Sequence[Word]) -> Tensor:
    """W x T x 3 of zeros and ones: which words start, end or are inside an entity of which type.

    An entity that begins or ends inside a word is widened to the whole word.
    """
    column: Mapping[str, int] = {name: i for i, name in enumerate(names)}
    result = torch.zeros(len(its_words), len(names), len(ROLES))
    starts, ends = np.array([w.start for w in its_words]), np.array([w.end for w in its_words])
    for entity in example.entities:
        if entity.label not in column:
            continue
        first = int(np.searchsorted(ends, entity.start, side="right"))
        last = int(np.searchsorted(starts, entity.end, side="left")) - 1
        if first <= last:
            result[first, column[entity.label], 0] = 1
            result[last, column[entity.label], 1] = 1
            result[first : last + 1, column[entity.label], 2] = 1
    return result
