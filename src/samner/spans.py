"""Choosing among spans that overlap."""

from __future__ import annotations

from collections.abc import Iterable

from samner.types import Entity


def flat(entities: Iterable[Entity]) -> list[Entity]:
    """Keep the spans of highest score that do not overlap, in the order of the text.

    Equal scores: the longer span first, then the earlier, then the label in alphabetical order, so that the result
    does not depend on the order of the input.
    """
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda e: (-e.score, e.start - e.end, e.start, e.label)):
        if all(entity.end <= other.start or other.end <= entity.start for other in kept):
            kept.append(entity)
    return sorted(kept, key=lambda e: e.key)
