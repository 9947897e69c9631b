"""Spans: entities as marks on words, scores of words as candidates, and choosing among candidates that overlap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from samner.entities import Entity, EntityType
from samner.errors import SamnerError
from samner.words import Word

if TYPE_CHECKING:
    from torch import Tensor

ROLES = ("start", "end", "inside")
"""What a word can be of an entity: its first, its last, one of its words."""

MAX_ENTITY_WORDS = 40
"""No span that ``decode`` finds is longer than this many words."""


def decode(
    probabilities: npt.NDArray[np.float32], words: Sequence[Word], types: Sequence[EntityType], threshold: float
) -> list[Entity]:
    """All spans whose first word starts, last word ends and every word lies inside an entity of a type.

    A span's score is the least of those probabilities, so that a threshold finds just what a lower one finds with at
    least that score. Spans of one type may overlap: resolving that is the caller's.

    Args:
        probabilities: W x L x 3, in the order of ``ROLES``.
        words: The W words with their character spans.
        types: The L entity types.
        threshold: In (0, 1).
    """
    entities = []
    hit = probabilities >= threshold
    for column in np.flatnonzero(hit[:, :, 0].any(axis=0)).tolist():
        p = probabilities[:, column, :]
        inside, ends = hit[:, column, 2], hit[:, column, 1]
        for start in np.flatnonzero(hit[:, column, 0] & inside).tolist():
            least = float(p[start, 0])
            for end in range(start, min(start + MAX_ENTITY_WORDS, len(words))):
                if not inside[end]:
                    break
                least = min(least, float(p[end, 2]))
                if ends[end]:
                    score = min(least, float(p[end, 1]))
                    entities.append(Entity(words[start].start, words[end].end, types[column].name, score))
    return entities


def word_spans(
    entities: Iterable[Entity], words: Sequence[Word], labels: Container[str]
) -> Iterator[tuple[int, int, str, float]]:
    """First word, last word, label and score of each entity of one of the labels, widened to whole words."""
    for entity in entities:
        first = bisect_right(words, entity.start, key=lambda word: word.end)
        last = bisect_left(words, entity.end, key=lambda word: word.start) - 1
        if entity.label in labels and first <= last:
            yield first, last, entity.label, entity.score


def mark(targets: Tensor, spans: Iterable[tuple[int, int, str, float]], columns: Mapping[str, int]) -> None:
    """Set to a span's score what ``decode`` would find it by; where spans share a word, to the highest.

    Args:
        targets: W x L x 3, in the order of ``ROLES``.
        spans: As ``word_spans`` gives them.
        columns: Place of each label among the L.
    """
    for first, last, label, score in spans:
        column = targets[:, columns[label]]
        for part in (column[first, 0], column[last, 1], column[first : last + 1, 2]):
            part.clamp_(min=score)


def flat(entities: Iterable[Entity]) -> list[Entity]:
    """Keep the spans of highest score that do not overlap, in the order of the text.

    Equal scores: the longer span first, then the earlier, then the label in alphabetical order, so that the result
    does not depend on the order of the input. Takes O(n log n) steps for n spans, however long they and the text are.
    """
    ranked = sorted(entities, key=lambda e: (-e.score, e.start - e.end, e.start, e.label))
    if len(ranked) < 2:
        return ranked
    places = {place: i for i, place in enumerate(sorted({p for e in ranked for p in (e.start, e.end)}), 1)}
    starts, ends = _Counts(len(places)), _Counts(len(places))
    kept = []
    for entity in ranked:
        first, last = places[entity.start], places[entity.end]
        if starts.up_to(last - 1) == ends.up_to(first):  # each kept span that began before its end had ended by then
            starts.add(first)
            ends.add(last)
            kept.append(entity)
    return sorted(kept, key=lambda e: e.key)


def nested(entities: Iterable[Entity]) -> list[Entity]:
    """Keep the spans of highest score that do not cross, in the order of the text: each within another, or apart.

    Equal scores and the number of steps: as of ``flat``. Of one span the surest label stays.
    """
    ranked = sorted(entities, key=lambda e: (-e.score, e.start - e.end, e.start, e.label))
    places = {place: i for i, place in enumerate(sorted({p for e in ranked for p in (e.start, e.end)}))}
    ends, starts = _Greatest(len(places)), _Greatest(len(places))  # of starts the least, as the greatest negative
    taken: set[tuple[int, int]] = set()
    kept = []
    for entity in ranked:
        first, last = places[entity.start], places[entity.end]
        crossed = ends.within(first + 1, last) > last or -starts.within(first + 1, last) < first
        if not crossed and (first, last) not in taken:
            taken.add((first, last))
            ends.put(first, last)
            starts.put(last, -first)
            kept.append(entity)
    return sorted(kept, key=lambda e: e.key)


OVERLAPS = ("flat", "nested", "all")
"""What entities may do: not overlap at all, lie within one another, or anything."""


def resolve(entities: Iterable[Entity], overlaps: str = "flat", *, multi_label: bool = False) -> list[Entity]:
    """Choose among candidates that overlap, in the order of the text.

    Args:
        entities: The candidates.
        overlaps: One of ``OVERLAPS``: what is dropped overlaps something surer in a way that may not be.
        multi_label: Whether a span that stays has all of its labels, not the surest one alone. With ``"all"`` it does.

    Raises:
        SamnerError: If there is no such way to overlap.
    """
    if overlaps not in OVERLAPS:
        raise SamnerError(f"overlaps must be {', '.join(OVERLAPS[:-1])} or {OVERLAPS[-1]}, not {overlaps!r}")
    candidates = list(entities)
    if overlaps == "all":
        return sorted(candidates, key=lambda e: e.key)
    choose: Callable[[Iterable[Entity]], list[Entity]] = flat if overlaps == "flat" else nested
    kept = choose(candidates)
    if not multi_label:
        return kept
    spans = {(e.start, e.end) for e in kept}
    return sorted((e for e in candidates if (e.start, e.end) in spans), key=lambda e: e.key)


class _Greatest:
    """The greatest of the numbers put at places from one to another, in O(log n) as they are put (a segment tree)."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._tree = [-np.inf] * (2 * places)

    def put(self, place: int, value: float) -> None:
        place += self._places
        while place and self._tree[place] < value:
            self._tree[place] = value
            place //= 2

    def within(self, first: int, end: int) -> float:
        """From ``first`` to before ``end``; minus infinity if there are none."""
        first, end, most = first + self._places, end + self._places, -np.inf
        while first < end:
            if first % 2:
                most = max(most, self._tree[first])
                first += 1
            if end % 2:
                end -= 1
                most = max(most, self._tree[end])
            first, end = first // 2, end // 2
        return most


class _Counts:
    """How many things lie at or before a place, counted in O(log n) as things are added (Fenwick 1994)."""

    def __init__(self, places: int) -> None:
        self._sums = [0] * (places + 1)

    def add(self, place: int) -> None:
        while place < len(self._sums):
            self._sums[place] += 1
            place += place & -place

    def up_to(self, place: int) -> int:
        total = 0
        while place:
            total += self._sums[place]
            place &= place - 1
        return total
