"""What is left out of a data set and what is drawn: seeded, so that the same texts are drawn everywhere."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TypeVar

from samner.entities import Example

T = TypeVar("T")
SEED = 0
PER_LABEL = 60
"""A draw that covers labels first takes so many texts of each."""


def key(text: str) -> str:
    """What texts are compared by: letters and digits, without case."""
    return re.sub(r"[\W_]+", "", text.casefold()) or text


def keys(rows: Iterable[Example]) -> set[str]:
    """The keys of the texts."""
    return {key(row.text) for row in rows}


def distinct(rows: Iterable[Example]) -> list[Example]:
    """The rows without empty texts and exact repeats."""
    first: dict[str, Example] = {}
    for row in rows:
        if row.text.strip():
            first.setdefault(row.text, row)
    return list(first.values())


def draw(rows: Sequence[T], most: int) -> list[T]:
    """At most so many of the rows, in their order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[index] for index in sorted(random.Random(SEED).sample(range(len(rows)), most))]


def hold_out(rows: Sequence[T], share: float) -> tuple[list[T], list[T]]:
    """The rest of the rows and a share of them, both in their order."""
    order = shuffled(range(len(rows)))
    held = set(order[: round(len(rows) * share)])
    return [row for i, row in enumerate(rows) if i not in held], [row for i, row in enumerate(rows) if i in held]


def shuffled(rows: Iterable[T]) -> list[T]:
    """The rows in random order."""
    order = list(rows)
    random.Random(SEED).shuffle(order)
    return order


def tenths(documents: Iterable[Sequence[Example]]) -> dict[str, list[Example]]:
    """Eight tenths of the documents for training, one for dev and one for test; each is some texts."""
    order = shuffled(documents)
    first, second = len(order) * 8 // 10, len(order) * 9 // 10
    parts = {"train": order[:first], "dev": order[first:second], "test": order[second:]}
    return {part: list(chain.from_iterable(documents)) for part, documents in parts.items()}


def tenths_of_files(files: Sequence[Sequence[Example]]) -> dict[str, list[Example]]:
    """The same of the texts of files, in whose order they stay."""
    order = shuffled(range(len(files)))
    first, second = round(len(files) * 0.8), round(len(files) * 0.9)
    parts = {"train": order[:first], "dev": order[first:second], "test": order[second:]}
    return {part: [row for index in sorted(drawn) for row in files[index]] for part, drawn in parts.items()}


def thin(rows: Sequence[Example], share: float) -> list[Example]:
    """First the texts with an entity, then some without: at most this share of those."""
    some = [row for row in rows if row.entities]
    return some + draw([row for row in rows if not row.entities], round(share * len(some)))


def cover(rows: Sequence[Example], most: int) -> list[Example]:
    """At most so many of the rows, in their order; every label is covered first."""
    if len(rows) <= most:
        return list(rows)
    order = shuffled(range(len(rows)))
    taken: Counter[str] = Counter()
    kept: set[int] = set()
    for index in order:
        labels = {entity.label for entity in rows[index].entities}
        if len(kept) < most and any(taken[label] < min(PER_LABEL, most // 20) for label in labels):
            kept.add(index)
            taken.update(labels)
    kept.update([index for index in order if index not in kept][: most - len(kept)])
    return [rows[index] for index in sorted(kept)]
