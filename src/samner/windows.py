"""Texts of any length, read in overlapping windows that a model can read; and texts of a length in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from samner.entities import Entity, EntityType
from samner.words import Tokens, windows

OVERLAP = 0.25
"""Share of a window that the next one reads again, so that an entity at a cut is seen whole by one of them."""

_TEXTS_PER_CALL = 256


class Reader(Protocol):
    """What reads texts of at most ``max_tokens``; see ``Backbone``."""

    max_tokens: int

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """See ``Backbone.tokenize``."""

    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        """See ``Backbone.read``."""


def read_windows(
    reader: Reader,
    texts: Sequence[str],
    types: Sequence[EntityType],
    models: Sequence[str],
    threshold: float,
    on_done: Callable[[int], None] | None = None,
    overlap: int | None = None,
) -> dict[str, list[list[Entity]]]:
    """Read texts of any length; nothing is left unread. See ``Backbone.predict``.

    Args:
        reader: What reads them.
        texts: Any texts, also empty ones.
        types: The entity types to look for.
        models: Whom to ask.
        threshold: Entities of lower score are left out.
        on_done: Called with the number of texts just finished.
        overlap: Tokens that a window reads again of the one before; by default the share ``OVERLAP``.
    """
    shared = int(reader.max_tokens * OVERLAP) if overlap is None else overlap
    result: dict[str, list[list[Entity]]] = {model: [] for model in models}
    for first in range(0, len(texts), _TEXTS_PER_CALL):
        chunk = reader.tokenize(texts[first : first + _TEXTS_PER_CALL])
        cuts = [
            (i, window)
            for i, tokens in enumerate(chunk)
            for window in windows(tokens.words, reader.max_tokens, shared)
        ]
        answers = reader.read([chunk[i].cut(window) for i, window in cuts], types, models, threshold)
        for model in models:
            found: list[dict[tuple[int, int, str], Entity]] = [{} for _ in chunk]
            for (i, window), entities in zip(cuts, answers[model], strict=True):
                for entity in entities:
                    moved = replace(entity, start=entity.start + window.start, end=entity.end + window.start)
                    known = found[i].get(moved.key)
                    if known is None or known.score < moved.score:
                        found[i][moved.key] = moved
            result[model].extend(list(entities.values()) for entities in found)
        if on_done:
            on_done(len(chunk))
    return result


def batches(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of what costs anything, the most costly first, in batches of at most ``budget`` once they are padded."""
    made: list[list[int]] = []
    for i in sorted((i for i, cost in enumerate(costs) if cost), key=lambda i: -costs[i]):
        if not made or (len(made[-1]) + 1) * costs[made[-1][0]] > budget:
            made.append([])
        made[-1].append(i)
    return made
