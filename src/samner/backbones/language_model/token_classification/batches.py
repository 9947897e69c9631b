"""Training batches: which texts, which types are asked for, and what is right, all a function of the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from samner.backbones.batches import DrawnBatches
from samner.backbones.language_model.token_classification.inputs import Question, Reader
from samner.backbones.training import Paraphrases, TrainingSet
from samner.entities import EntityType, Example
from samner.spans import ROLES, mark, word_spans
from samner.words import Word

if TYPE_CHECKING:
    from samner.backbones.language_model.token_classification.training import Recipe


class Batches(DrawnBatches[tuple[Question, Tensor]]):
    """The questions of a step, each with its W x T x 3 targets; see ``DrawnBatches``.

    Args:
        sets: The labelled data.
        reader: Of the base.
        recipe: Settings.
        paraphrases: Other ways to say a type's prompt.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        reader: Reader,
        recipe: Recipe,
        paraphrases: Paraphrases,
    ) -> None:
        def make(
            example: Example, types: Sequence[EntityType], prompts: Sequence[str]
        ) -> tuple[Question, Tensor] | None:
            (tokens,) = reader.tokenize([example.text])
            if not tokens.words:
                return None
            return reader.question(tokens, reader.types(prompts)), targets(
                example, [t.name for t in types], tokens.words
            )

        super().__init__(sets, recipe, paraphrases, make, lambda item: len(item[0].ids))


def targets(example: Example, names: Sequence[str], its_words: Sequence[Word]) -> Tensor:
    """W x T x 3: how surely (gold: zeros and ones) words start, end or are inside an entity of which type.

    An entity that begins or ends inside a word is widened to the whole word.
    """
    columns = {name: i for i, name in enumerate(names)}
    result = torch.zeros(len(its_words), len(names), len(ROLES))
    mark(result, word_spans(example.entities, its_words, columns), columns)
    return result
