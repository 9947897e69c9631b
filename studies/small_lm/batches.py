"""Batches of questions and answers without end, each a function of the seed and the step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Row = Mapping[str, Sequence[int]]
"""``input_ids``, and as ``labels`` those of them that count for the loss, -100 for the others."""

_BUCKETS = 16
"""Batches that are drawn together and sorted by length, so that little of them is padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens, which of them are not padding, and those that count for the loss (others -100), of one shape."""

    ids: Tensor
    mask: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(self.ids.to(device), self.mask.to(device), self.labels.to(device))


class Batches:
    """Batches of rows that a function draws.

    Args:
        rows: Gives rows without end, drawn by a random generator.
        size: Rows in a batch.
        seed: Of everything random.
    """

    def __init__(self, rows: Callable[[random.Random], Iterator[Row]], size: int, seed: int) -> None:
        self._rows = rows
        self._size = size
        self._seed = seed
        self._drawn: tuple[int, list[Batch]] = (-1, [])

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        number, place = divmod(step, _BUCKETS)
        if self._drawn[0] != number:
            self._drawn = (number, self._bucket(number))
        return self._drawn[1][place]

    def _bucket(self, number: int) -> list[Batch]:
        rng = random.Random(f"{self._seed}/{number}")
        rows = self._rows(rng)
        drawn = sorted((next(rows) for _ in range(self._size * _BUCKETS)), key=lambda row: len(row["input_ids"]))
        batches = [collate(drawn[i : i + self._size]) for i in range(0, len(drawn), self._size)]
        rng.shuffle(batches)
        return batches


def collate(rows: Sequence[Row]) -> Batch:
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
