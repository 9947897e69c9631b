"""Choosing among spans that overlap."""

from __future__ import annotations

from collections.abc import Iterable

from samner.entities import Entity


def flat(entities: Iterable[Entity]) -> list[Entity]:
    """Keep the spans of highest score that do not overlap, in the order of the text.

    Equal scores: the longer span first, then the earlier, then the label in alphabetical order, so that the result
    does not depend on the order of the input.
    """
    kept: list[Entity] = []
    taken = 0  # one bit a character: a bit mask decides an overlap at once, however many candidates there are
    for entity in sorted(entities, key=lambda e: (-e.score, e.start - e.end, e.start, e.label)):
        mask = ((1 << (entity.end - entity.start)) - 1) << entity.start
        if not taken & mask:
            taken |= mask
            kept.append(entity)
    return sorted(kept, key=lambda e: e.key)
