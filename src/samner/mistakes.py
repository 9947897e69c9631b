"""What is wrong with predicted entities: another label or boundary, spurious, missed; and which labels are mixed up.

The kinds are those of SemEval 2013 (task 9.1), as in nervaluate, but entities are not paired off: of two halves that
were found of one entity each has another boundary.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from samner.entities import Entity
from samner.errors import SamnerError


@dataclass(frozen=True, slots=True)
class Mistakes:
    """How often each mistake was made, by labels.

    Args:
        label: Found with the boundaries of a true entity but another label: by the true label and the one found.
        boundary: Found where a true entity is, but with other boundaries: by the label found.
        spurious: Found where no true entity is: by the label found.
        missed: True where nothing was found: by the true label.
    """

    label: Counter[tuple[str, str]] = field(default_factory=Counter)
    boundary: Counter[str] = field(default_factory=Counter)
    spurious: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, the most frequent first."""
        return {
            "label": [{"gold": gold, "found": found, "count": n} for (gold, found), n in self.label.most_common()],
            "boundary": dict(self.boundary.most_common()),
            "spurious": dict(self.spurious.most_common()),
            "missed": dict(self.missed.most_common()),
        }


def mistakes(gold: Sequence[Collection[Entity]], predicted: Sequence[Collection[Entity]]) -> Mistakes:
    """What is wrong with what was found in each text.

    Args:
        gold: The true entities of each text.
        predicted: Those found, in the same order.

    Raises:
        SamnerError: If these are not as many.
    """
    if len(gold) != len(predicted):
        raise SamnerError(f"there are gold entities for {len(gold)} texts but found ones for {len(predicted)}")
    result = Mistakes()
    for true, found in zip(gold, predicted, strict=True):
        right = {entity.key for entity in true} & {entity.key for entity in found}
        labels = defaultdict(set)
        for entity in true:
            labels[entity.start, entity.end].add(entity.label)
        is_true, is_found = _Covered(true), _Covered(found)
        for start, end, label in sorted({entity.key for entity in found} - right):
            if meant := labels[start, end]:
                unfound = [one for one in meant if (start, end, one) not in right]
                result.label[min(unfound or meant), label] += 1
            elif is_true.touches(start, end):
                result.boundary[label] += 1
            else:
                result.spurious[label] += 1
        for start, end, label in sorted({entity.key for entity in true} - right):
            if not is_found.touches(start, end):
                result.missed[label] += 1
    return result


class _Covered:
    """Where the entities of a text are."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        spans = sorted((entity.start, entity.end) for entity in entities)
        self._starts = [start for start, _ in spans]
        self._ends = list(accumulate((end for _, end in spans), max))

    def touches(self, start: int, end: int) -> bool:
        before = bisect_left(self._starts, end)
        return before > 0 and self._ends[before - 1] > start
