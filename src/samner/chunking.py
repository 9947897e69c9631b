"""Texts of any length read by a backbone of limited length, with offsets into the whole text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from samner.backbones.base import Backbone
from samner.entities import Entity, EntityType
from samner.windows import windows

OVERLAP = 0.25
"""Share of a window that the next one reads again, so that an entity at a cut is seen whole by one of them."""

_TEXTS_PER_CALL = 256


def predict_long(
    backbone: Backbone,
    texts: Sequence[str],
    types: Sequence[EntityType],
    models: Sequence[str],
    threshold: float,
    on_done: Callable[[int], None] | None = None,
) -> dict[str, list[list[Entity]]]:
    """``Backbone.predict`` for texts of any length, cut into overlapping windows; nothing is left unread.

    Args:
        backbone: Answers.
        texts: Any texts, also empty ones.
        types: The entity types to look for.
        models: Whom to ask; see ``Backbone.predict``.
        threshold: Entities of lower score are left out.
        on_done: Called with the number of texts just finished, for a progress bar.

    Returns:
        Per model and text, candidate entities with offsets into the text as given. One that several windows found
        is listed once, with its highest score.
    """
    result: dict[str, list[list[Entity]]] = {model: [] for model in models}
    for first in range(0, len(texts), _TEXTS_PER_CALL):
        chunk = texts[first : first + _TEXTS_PER_CALL]
        parts = [
            (i, window.start, text[window.start : window.end])
            for i, (text, words) in enumerate(zip(chunk, backbone.words(chunk), strict=True))
            for window in windows(words, backbone.max_tokens, int(backbone.max_tokens * OVERLAP))
        ]
        answers = backbone.predict([text for _, _, text in parts], types, models, threshold)
        for model in models:
            found: list[dict[tuple[int, int, str], Entity]] = [{} for _ in chunk]
            for (i, offset, _), entities in zip(parts, answers[model], strict=True):
                for entity in entities:
                    moved = replace(entity, start=entity.start + offset, end=entity.end + offset)
                    known = found[i].get(moved.key)
                    if known is None or known.score < moved.score:
                        found[i][moved.key] = moved
            result[model].extend(list(entities.values()) for entities in found)
        if on_done:
            on_done(len(chunk))
    return result
