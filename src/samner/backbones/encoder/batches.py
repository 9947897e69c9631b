"""Training batches: which data sets, which texts, which entity types, all a function of the seed and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from samner.backbones.encoder.tokens import Batch, WordTokenizer
from samner.backbones.training import Paraphrases, TrainingSet, reworded
from samner.errors import SamnerError
from samner.spans import ROLES, word_spans
from samner.subwords import Padded, pad
from samner.words import Tokens, cut_example

if TYPE_CHECKING:
    from samner.backbones.encoder.training import Recipe

Ints = npt.NDArray[np.int64]

NEIGHBOURS = 16
"""How many types of its data set a type is alike: those that hard negatives are drawn from."""

WORKERS = 1
"""Processes that prepare batches ahead of a GPU: one makes more than a hundred a second."""


@dataclass(slots=True)
class LabelledBatch:
    """Texts of a step, or a part of them, what is asked of them, and the answers; as arrays, which pass to processes.

    Args:
        texts: The B texts.
        prompts: L places in the plan's ``prompts``: how the types asked for are worded.
        asked: B x L, whether a text's labels tell of that type.
        cells: N flat places in B x W x L x 3 whose target is not zero.
        scores: N targets there.
    """

    texts: Padded
    prompts: Ints
    asked: npt.NDArray[np.bool_]
    cells: Ints
    scores: npt.NDArray[np.float32]

    def to(self, device: torch.device) -> Lesson:
        """The same as tensors on a device."""

        def put(array: npt.NDArray[Any]) -> Tensor:
            tensor = torch.from_numpy(array)
            # from pinned memory a GPU copies by itself, without anybody waiting for it
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        t = self.texts
        rows, width = t.word_mask.shape
        texts = Batch(put(t.input_ids), put(t.attention_mask), put(t.word_ids), (rows, width), put(t.word_mask))
        return Lesson(texts, put(self.prompts), put(self.asked), put(self.cells), put(self.scores))


@dataclass(slots=True)
class Lesson:
    """A ``LabelledBatch`` as tensors."""

    texts: Batch
    prompts: Tensor
    asked: Tensor
    cells: Tensor
    scores: Tensor

    def targets(self) -> Tensor:
        """B x W x L x 3, what ``decode`` would find the entities by; where spans share a cell, the highest score."""
        shape = (*self.texts.shape, len(self.prompts), len(ROLES))
        flat = torch.zeros(math.prod(shape), device=self.cells.device)
        return flat.scatter_reduce_(0, self.cells, self.scores, "amax").view(shape)


class BatchPlan:
    """The batches of a training run.

    A batch holds one or more groups, each of texts of like length from one data set, which are asked for that set's
    types and no others, as those are known to be annotated. Data sets are drawn in proportion to a power of their
    size, times their weight. Batch ``step`` depends on nothing but the seed and ``step``, so a resumed run sees what
    an uninterrupted one would have seen.

    Args:
        sets: The labelled data.
        tokenizer: Of the backbone.
        recipe: Settings. Own types that occur in a group are always asked for.
        max_tokens: Longer texts are cut into windows of at most this many tokens.
        foreign: By data set, the foreign types to draw from.
        paraphrases: Other ways to say a type's prompt.
        embed: Gives unit vectors of prompts, one a row; needed for ``recipe.near_types``.

    Attributes:
        prompts: Every wording that a batch may ask by.
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
        embed: Callable[[Sequence[str]], npt.NDArray[np.float32]] | None = None,
    ) -> None:
        self.sets = sets
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.foreign = foreign
        self.paraphrases = paraphrases
        self._labelled = [_Labelled(s, tokenizer, max_tokens) for s in sets]
        if empty := next((s.name for s, its in zip(sets, self._labelled, strict=True) if not its.texts), None):
            raise SamnerError(f"{empty}: no text has a word, so there is nothing to learn")
        share = recipe.sets_per_batch
        budget, most = max(1, recipe.batch_tokens // share), max(1, recipe.batch_texts // share)
        self._groups = [_groups(its.texts, budget, most, recipe.seed + i) for i, its in enumerate(self._labelled)]
        self._near = [_neighbours([t.prompt for t in s.types], embed) if recipe.near_types else None for s in sets]
        asked = [prompt for s in sets for prompt in (*(t.prompt for t in s.types), *foreign[s.name])]
        self.prompts = list(dict.fromkeys(p for prompt in asked for p in (prompt, *paraphrases.get(prompt, ()))))
        self._place = {prompt: i for i, prompt in enumerate(self.prompts)}
        weights = np.array(
            [s.weight * len(its.texts) ** recipe.size_power for s, its in zip(sets, self._labelled, strict=True)]
        )
        rng = np.random.default_rng([recipe.seed, 0])
        self.steps = recipe.steps or math.ceil(recipe.epochs * sum(map(len, self._groups)) / share)
        self._choices = rng.choice(len(sets), size=self.steps * share, p=weights / weights.sum())
        self._turn = np.zeros(len(self._choices), dtype=np.int64)
        for index in range(len(sets)):
            mine = self._choices == index
            self._turn[mine] = np.arange(int(mine.sum()))

    def __len__(self) -> int:
        return self.steps

    def names(self, step: int) -> list[str]:
        """The data sets of a step's groups."""
        share = self.recipe.sets_per_batch
        return [self.sets[i].name for i in self._choices[step * share : (step + 1) * share]]

    def __getitem__(self, step: int) -> list[LabelledBatch]:
        """The batch of a step, in parts: groups of like length together, so that little is padded."""
        share = self.recipe.sets_per_batch
        drawn = slice(step * share, (step + 1) * share)
        turns = zip(self._choices[drawn].tolist(), self._turn[drawn].tolist(), strict=True)
        groups = [self._group(index, turn) for index, turn in turns]
        longest = [max(self._labelled[index].texts[i].cost for i in rows) for index, rows in groups]
        rng = np.random.default_rng([self.recipe.seed, 2, step])
        parts: list[list[tuple[int, Ints]]] = []
        texts = 0
        for i in np.argsort(longest, kind="stable").tolist():
            texts += len(groups[i][1])
            if not parts or longest[i] * texts > self.recipe.batch_tokens:
                parts.append([])
                texts = len(groups[i][1])
            parts[-1].append(groups[i])
        return [self._part(part, rng) for part in parts]

    def _part(self, groups: Sequence[tuple[int, Ints]], rng: np.random.Generator) -> LabelledBatch:
        types = [self._asked(index, rows, rng) for index, rows in groups]
        texts = pad([self._labelled[index].texts[i] for index, rows in groups for i in rows], self.tokenizer)
        count, width = texts.word_mask.shape
        asked = np.zeros((count, sum(len(prompts) for _, prompts in types)), dtype=np.bool_)
        cells, scores = [], []
        row = column = 0
        for (index, rows), (columns, prompts) in zip(groups, types, strict=True):
            asked[row : row + len(rows), column : column + len(prompts)] = True
            found = self._labelled[index].marks(rows)
            place = ((row + found.row) * width + found.word) * asked.shape[1] + column + columns[found.type]
            cells.append(place * len(ROLES) + found.role)
            scores.append(found.score)
            row, column = row + len(rows), column + len(prompts)
        wordings = [self._place[prompt] for _, prompts in types for prompt in prompts]
        places = np.array(wordings, dtype=np.int64)
        return LabelledBatch(texts, places, asked, np.concatenate(cells), np.concatenate(scores))

    def _group(self, index: int, turn: int) -> tuple[int, Ints]:
        """A data set and the places of its texts that are its turn."""
        epoch, place = divmod(turn, len(self._groups[index]))
        order = np.random.default_rng([self.recipe.seed, 1, index, epoch]).permutation(len(self._groups[index]))
        return index, self._groups[index][order[place]]

    def _asked(self, index: int, rows: Ints, rng: np.random.Generator) -> tuple[Ints, list[str]]:
        """The column of each of a data set's types, -1 for those not asked for, and the columns' wordings."""
        data, recipe = self.sets[index], self.recipe
        present = np.unique(self._labelled[index].marks(rows).type)
        absent = np.setdiff1d(np.arange(len(data.types)), present, assume_unique=True)
        room = max(0, recipe.max_types - len(present))
        if len(absent) > room:
            absent = self._some(index, present, absent, room, rng)
        own = [*present.tolist(), *absent.tolist()]
        columns = np.full(len(data.types), -1, dtype=np.int64)
        columns[own] = np.arange(len(own))
        foreign = list(self.foreign[data.name])
        if len(foreign) > recipe.foreign_types:
            foreign = list(rng.choice(foreign, size=recipe.foreign_types, replace=False))
        prompts = [*(data.types[i].prompt for i in own), *foreign]
        return columns, [reworded(p, self.paraphrases, recipe.paraphrase_rate, rng) for p in prompts]

    def _some(self, index: int, present: Ints, absent: Ints, room: int, rng: np.random.Generator) -> Ints:
        """So many of the absent types: a share of those most like the present ones, the others at random."""
        near = self._near[index]
        if near is None or not room:
            return rng.choice(absent, size=room, replace=False)
        hard = np.intersect1d(near[present], absent)
        hard = rng.choice(hard, size=min(len(hard), round(self.recipe.near_types * room)), replace=False)
        others = np.setdiff1d(absent, hard, assume_unique=True)
        return np.concatenate([hard, rng.choice(others, size=room - len(hard), replace=False)])


@dataclass(slots=True)
class _Marks:
    """Cells of texts that are not zero, one a place: row, word, type, role and score."""

    row: Ints
    word: Ints
    type: Ints
    role: Ints
    score: npt.NDArray[np.float32]


class _Labelled:
    """A data set's texts in windows, and what ``mark`` would set for them as arrays: ``offsets[i]`` to the next."""

    def __init__(self, data: TrainingSet, tokenizer: WordTokenizer, max_tokens: int) -> None:
        place = {t.name: i for i, t in enumerate(data.types)}
        self.texts: list[Tokens] = []
        cells: list[tuple[int, int, int]] = []
        scores: list[float] = []
        offsets = [0]
        for example, tokens in zip(data.examples, tokenizer([e.text for e in data.examples]), strict=True):
            for part, its in cut_example(example, tokens, max_tokens):
                for cell, score in _cells(word_spans(part.entities, its.words, place), place):
                    cells.append(cell)
                    scores.append(score)
                self.texts.append(its)
                offsets.append(len(cells))
        self._cells: Ints = np.array(cells, dtype=np.int64).reshape(-1, 3)
        self._scores: npt.NDArray[np.float32] = np.array(scores, dtype=np.float32)
        self._offsets: Ints = np.array(offsets, dtype=np.int64)

    def marks(self, rows: Ints) -> _Marks:
        """Those of some texts, which are the rows."""
        first, count = self._offsets[rows], np.diff(self._offsets)[rows]
        row = np.repeat(np.arange(len(rows)), count)
        at = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
        word, type_, role = self._cells[at].T
        return _Marks(row, word, type_, role, self._scores[at])


def _cells(
    spans: Iterable[tuple[int, int, str, float]], place: Mapping[str, int]
) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Word, type and role, in the order of ``ROLES``, of what each span marks, and its score."""
    for first, last, label, score in spans:
        yield (first, place[label], 0), score
        yield (last, place[label], 1), score
        for word in range(first, last + 1):
            yield (word, place[label], 2), score


def _neighbours(prompts: Sequence[str], embed: Callable[[Sequence[str]], npt.NDArray[np.float32]] | None) -> Ints:
    """For each type the places of those most like it, T x N with N at most ``NEIGHBOURS``."""
    if embed is None:
        raise SamnerError("hard negatives need the embeddings of types")
    vectors = embed(prompts)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    count = min(NEIGHBOURS, len(prompts) - 1)
    nearest: Ints = np.argpartition(-likeness, max(0, count - 1), axis=1)[:, :count]
    return nearest


def _groups(texts: Sequence[Tokens], budget: int, most: int, seed: int) -> list[Ints]:
    """Places of texts of like length in groups of at most ``most`` texts and about ``budget`` padded tokens."""
    rng = np.random.default_rng([seed, 3])
    cost = np.array([tokens.cost for tokens in texts], dtype=np.float64)
    order = np.argsort(cost * rng.uniform(0.9, 1.1, size=len(cost)), kind="stable")
    groups, first, longest = [], 0, 0.0
    for last, one in enumerate(cost[order].tolist()):
        longest = max(longest, one)
        if last > first and (last - first >= most or longest * (last + 1 - first) > budget):
            groups.append(order[first:last])
            first, longest = last, one
    return [*groups, order[first:]]


class Ahead:
    """A plan's batches on a device, one step after another.

    Args:
        plan: What makes them.
        device: Where they go.
        workers: Processes that prepare them ahead, so that a GPU need not wait; none on a CPU.
    """

    def __init__(self, plan: BatchPlan, device: torch.device, workers: int) -> None:
        self._plan = plan
        self._device = device
        self._workers = workers
        self._batches: Iterator[Any] = iter(())
        self._next = -1

    def __call__(self, step: int) -> list[Lesson]:
        """The parts of a step's batch, quickly if the one before it was asked for last."""
        if not self._workers:
            return [part.to(self._device) for part in self._plan[step]]
        if step != self._next:
            loader: Any = torch.utils.data.DataLoader(
                self._plan,  # type: ignore[arg-type]  # a dataset is what has a length and items
                batch_size=None,
                sampler=range(step, len(self._plan)),
                num_workers=self._workers,
                prefetch_factor=8,
                multiprocessing_context="fork",  # which shares the texts; the children compute on the CPU alone
            )
            self._batches = iter(loader)
        self._next = step + 1
        return [part.to(self._device) for part in next(self._batches)]
