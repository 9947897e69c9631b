"""Whether a target is the very domain of an expert: then nobody else need be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from samner.entities import EntityType
from samner.pool import ExpertCard
from samner.selection.similarity import type_similarity

BOTH = 1.35
"""What two cosines have at least together: of an expert's texts with the target's, and, on average, of the target's
types with those most like them that it was taught. The more alike the texts, the less alike the names need be."""
AHEAD = 0.1
"""By how much no other expert's texts come close to the target's: what several experts could read belongs to none."""
OTHERS = 0.15
"""By how much more the types may be like what all experts were taught than what it was: mixed domains are nobody's."""
FOREIGN = 0.45
"""Cosine below which a type is nothing like what the expert was taught, and no other name of it either."""


def at_home(experts: Mapping[str, ExpertCard], cosine: Mapping[str, float], types: Sequence[EntityType]) -> str | None:
    """The expert whose domain the target is; none, if it is nobody's.

    Args:
        experts: The pool's cards by name.
        cosine: Cosine of each expert's domain embedding with the target's.
        types: The entity types to look for.
    """
    nearest, *others = sorted(cosine, key=lambda name: (-cosine[name], name))
    if any(cosine[nearest] - cosine[name] < AHEAD for name in others[:1]):
        return None
    likeness = type_similarity(types, {nearest: experts[nearest]})
    if cosine[nearest] + np.mean(likeness) < BOTH:
        return None
    return nearest if np.mean(type_similarity(types, experts) - likeness) <= OTHERS else None


def foreign(card: ExpertCard, types: Sequence[EntityType]) -> list[str]:
    """The names of those types that are nothing like any that an expert was taught."""
    likeness = type_similarity(types, {card.name: card})
    return [t.name for t, like in zip(types, likeness, strict=True) if like < FOREIGN]
