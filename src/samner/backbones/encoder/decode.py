"""From start, end and inside probabilities to spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samner.entities import Entity, EntityType
from samner.windows import Word

MAX_ENTITY_WORDS = 40
"""No span is longer than this many words."""


def decode(
    probabilities: npt.NDArray[np.float32], words: Sequence[Word], types: Sequence[EntityType], threshold: float
) -> list[Entity]:
    """All spans whose first word starts, last word ends and every word lies inside an entity of a type.

    Each of those probabilities must reach ``threshold``; the span's score is their geometric mean, the inside
    probabilities entering by their own mean. Spans of one type may overlap: resolving that is the caller's.

    Args:
        probabilities: W x L x 3, roles start, end, inside.
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
            total = 0.0
            for end in range(start, min(start + MAX_ENTITY_WORDS, len(words))):
                if not inside[end]:
                    break
                total += float(p[end, 2])
                if ends[end]:
                    mean_inside = total / (end - start + 1)
                    score = (float(p[start, 0]) * float(p[end, 1]) * mean_inside) ** (1 / 3)
                    entities.append(Entity(words[start].start, words[end].end, types[column].name, score))
    return entities
