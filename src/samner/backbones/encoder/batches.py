"""Training batches: which data set, which texts, which entity types, all a function of the seed and the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from samner.backbones.encoder.tokens import Batch, WordTokenizer, collate
from samner.backbones.training import Paraphrases, TrainingSet, reworded
from samner.errors import SamnerError
from samner.spans import ROLES, mark, word_spans
from samner.words import Tokens, cut_example

if TYPE_CHECKING:
    from samner.backbones.encoder.training import Recipe


@dataclass(frozen=True, slots=True)
class _Piece:
    """A window of an example: its sub-tokens and, per entity, first word, last word, type and score."""

    tokens: Tokens
    spans: tuple[tuple[int, int, str, float], ...]


class BatchPlan:
    """The batches of a training run.

    A batch holds texts of like length from one data set, so its types are known to be annotated; data sets are drawn
    in proportion to the square root of their size. Batch ``step`` depends on nothing but the seed and ``step``, so a
    resumed run sees what an uninterrupted one would have seen.

    Args:
        sets: The labelled data.
        tokenizer: Of the backbone.
        recipe: Settings. Own types that occur in a batch are always asked for.
        max_tokens: Longer texts are cut into windows of at most this many tokens.
        foreign: By data set, the foreign types to draw from.
        paraphrases: Other ways to say a type's prompt.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        tokenizer: WordTokenizer,
        recipe: Recipe,
        *,
        max_tokens: int,
        foreign: Mapping[str, Sequence[str]],
        paraphrases: Paraphrases,
    ) -> None:
        self.sets = sets
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.foreign = foreign
        self.paraphrases = paraphrases
        self.pieces = [_pieces(s, tokenizer, max_tokens) for s in sets]
        if empty := next((s.name for s, pieces in zip(sets, self.pieces, strict=True) if not pieces), None):
            raise SamnerError(f"{empty}: no text has a word, so there is nothing to learn")
        self._groups = [
            _groups(pieces, recipe.batch_tokens, recipe.batch_texts, recipe.seed + i)
            for i, pieces in enumerate(self.pieces)
        ]
        weights = np.sqrt([len(pieces) for pieces in self.pieces])
        rng = np.random.default_rng([recipe.seed, 0])
        self.steps = recipe.steps or math.ceil(recipe.epochs * sum(map(len, self._groups)))
        self._choices = rng.choice(len(sets), size=self.steps, p=weights / weights.sum())
        self._turn = np.zeros(self.steps, dtype=np.int64)
        for index in range(len(sets)):
            mine = self._choices == index
            self._turn[mine] = np.arange(int(mine.sum()))

    def __call__(self, step: int) -> tuple[Batch, list[str], torch.Tensor, str]:
        """The batch of a step: texts, the L type prompts asked for, B x W x L x 3 targets, the data set's name."""
        index = int(self._choices[step])
        data = self.sets[index]
        epoch, place = divmod(int(self._turn[step]), len(self._groups[index]))
        order = np.random.default_rng([self.recipe.seed, 1, index, epoch]).permutation(len(self._groups[index]))
        group = [self.pieces[index][i] for i in self._groups[index][order[place]]]
        rng = np.random.default_rng([self.recipe.seed, 2, step])

        present = sorted({label for piece in group for _, _, label, _ in piece.spans})
        absent = [t.name for t in data.types if t.name not in set(present)]
        room = max(0, self.recipe.max_types - len(present))
        if len(absent) > room:
            absent = list(rng.choice(absent, size=room, replace=False))
        own = [*present, *absent]
        foreign = list(self.foreign[data.name])
        if len(foreign) > self.recipe.foreign_types:
            foreign = list(rng.choice(foreign, size=self.recipe.foreign_types, replace=False))
        prompt_of = {t.name: t.prompt for t in data.types}
        rate = self.recipe.paraphrase_rate
        prompts = [reworded(prompt_of.get(name, name), self.paraphrases, rate, rng) for name in [*own, *foreign]]

        batch = collate([piece.tokens for piece in group], self.tokenizer)
        targets = torch.zeros(*batch.shape, len(prompts), len(ROLES))
        column = {name: i for i, name in enumerate(own)}
        for row, piece in enumerate(group):
            mark(targets[row], piece.spans, column)
        return batch, prompts, targets, data.name


def _pieces(data: TrainingSet, tokenizer: WordTokenizer, max_tokens: int) -> list[_Piece]:
    names = {t.name for t in data.types}
    pieces = []
    for example, tokens in zip(data.examples, tokenizer([e.text for e in data.examples]), strict=True):
        for part, its in cut_example(example, tokens, max_tokens):
            pieces.append(_Piece(its, tuple(word_spans(part.entities, its.words, names))))
    return pieces


def _groups(pieces: Sequence[_Piece], budget: int, most: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Indices of pieces of like length in groups of at most ``most`` texts and about ``budget`` padded tokens."""
    rng = np.random.default_rng([seed, 3])
    cost = np.array([piece.tokens.cost for piece in pieces], dtype=np.float64)
    order = np.argsort(cost * rng.uniform(0.9, 1.1, size=len(cost)), kind="stable")
    groups, first = [], 0
    for last in range(1, len(order) + 1):
        full = last - first >= most
        if last == len(order) or full or cost[order[first : last + 1]].max() * (last + 1 - first) > budget:
            groups.append(order[first:last])
            first = last
    return groups
