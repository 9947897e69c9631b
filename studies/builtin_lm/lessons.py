"""What the base is taught: to copy, and every data set's types, asked for as in the training of an expert.

- **repeat**: a text, then the same text once more. Every token counts: this is where it learns the words and, soonest,
  to copy.
- **answer**: a text and a question for some of its data set's types and some that are not there.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from samner.backbones import TrainingData
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import Recipe, SftExample, encode, in_windows, sft_examples
from studies.small_lm.batches import Row
from studies.small_lm.tokenizer import train_tokenizer


def make_tokenizer(settings: Mapping[str, Any], data: TrainingData) -> Any:
    """A tokenizer of what the base will read and write: the first texts of every data set and the types' names."""
    corpus = []
    for data_set in data.train:
        corpus += [example.text for example in data_set.examples[: settings["texts"]]]
        corpus += [entity_type.prompt for entity_type in data_set.types]
    return train_tokenizer(corpus, settings["plain"], settings["blank"])


class Lessons:
    """Questions and answers of real data sets; a set's share is as the square root of its size.

    Args:
        tokenizer: Of the base.
        prompt: How it is asked.
        data: What there is to learn.
        settings: ``lessons`` (the shares of both), ``recipe`` (how types are asked for) and ``limits`` of the base.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, data: TrainingData, settings: Mapping[str, Any]) -> None:
        short = in_windows(data, tokenizer, settings["limits"]["max_tokens"])
        recipe = Recipe.of(settings["recipe"])
        self._shares: Mapping[str, float] = settings["lessons"]
        self._lessons: dict[str, list[Sequence[Row]]] = {"repeat": [], "answer": []}
        for data_set in short.train:
            questions = sft_examples(replace(short, train=[data_set]), prompt, tokenizer, recipe, passes=1)
            repeats = [SftExample(e.text + "\n", e.text) for e in data_set.examples]
            self._lessons["answer"].append(_rows(questions, tokenizer, recipe.max_length))
            self._lessons["repeat"].append(
                [{**row, "labels": row["input_ids"]} for row in _rows(repeats, tokenizer, recipe.max_length)]
            )
        self._weights = [len(data_set.examples) ** 0.5 for data_set in short.train]

    def rows(self, rng: random.Random) -> Iterator[Row]:
        """Rows without end."""
        while True:
            lesson = rng.choices(list(self._shares), list(self._shares.values()))[0]
            yield rng.choice(rng.choices(self._lessons[lesson], self._weights)[0])


def _rows(examples: Sequence[SftExample], tokenizer: Any, longest: int) -> list[Row]:
    """Tokens of the examples that are not too long, in little memory."""
    rows = ({key: array("i", ids) for key, ids in row.items()} for row in encode(examples, tokenizer))
    return [row for row in rows if len(row["input_ids"]) <= longest]
