"""The signals by which experts can be selected: a registry of functions that each rank a pool for a domain.

A new signal is a function from a ``Target`` to a ``Selection`` in a file of its own, and an entry here; its name is
then a mode of ``samner.adapt``. Whether any expert is close to the domain at all is asked here too: when none is, the
user should know before trusting an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from samner.entities import EntityType
from samner.pool import ExpertCard
from samner.selection.home import at_home, foreign
from samner.selection.result import AUTO, Selection, too_few
from samner.selection.sampling import by_sampling
from samner.selection.similarity import Target, by_similarity, type_similarity

Signal: TypeAlias = Callable[[Target], Selection]

SIGNALS: dict[str, Signal] = {"similarity": by_similarity, "sampling": by_sampling}
"""The signals by name."""


def select_by(signals: Iterable[str], target: Target) -> dict[str, Selection]:
    """Rank experts by several signals.

    Returns:
        What each decided, by its name; all warn if no expert is close to the domain, and the first notes if there are
        fewer experts than are to be chosen. Where the number of experts is ``"auto"`` and the domain is an expert's
        own, all choose that one.
    """
    if target.count == AUTO and (name := at_home(target.experts, target.similarity.cosine, target.types)):
        note = f"this is the domain of {name!r}, which is asked alone"
        if strange := foreign(target.experts[name], target.types):
            note += f"; it was never taught anything like {_listed(strange)}: expect little of that"
        return {s: replace(target.similarity, strategy=s, chosen=(name,), home=True, note=note) for s in signals}
    far = unfamiliar(target.experts, target.similarity.cosine, target.types, target.pool.base_types)
    selections = {name: SIGNALS[name](target) for name in signals}
    if few := too_few(target.count, len(target.experts)):
        name, selection = next(iter(selections.items()))
        selections[name] = replace(selection, note="; ".join(filter(None, (few, selection.note))))
    return {name: replace(s, warnings=tuple(dict.fromkeys((*far, *s.warnings)))) for name, s in selections.items()}


TEXTS = 0.66
"""Cosine from which an expert's texts are close to the target's; by leave-one-domain-out, as ``TYPES`` is."""
TYPES = 0.63
"""Cosine from which the name of a type is close to another's: the lowest of those that are wrong least often."""


def unfamiliar(
    experts: Mapping[str, ExpertCard],
    cosine: Mapping[str, float],
    types: Sequence[EntityType],
    base_types: Collection[str] = (),
) -> tuple[str, ...]:
    """Say that no expert is close to the target, and why; nothing if one is.

    None is, if no expert's texts are like the target's and the target's types are on average unlike what was taught
    (see ``familiarity``). A single type tells too little for that.

    Args:
        experts: The pool's cards by name.
        cosine: Cosine of each expert's domain embedding with the target's.
        types: The entity types to look for.
        base_types: Names of the types that the base was taught, where that is known.
    """
    nearest = max(sorted(cosine), key=lambda name: cosine[name])
    if cosine[nearest] >= TEXTS or len(types) < 2:
        return ()
    likeness = familiarity(types, experts, base_types)
    if np.mean(likeness) >= TYPES:
        return ()
    unknown = [entity_type.name for entity_type, value in zip(types, likeness, strict=True) if value < TYPES]
    return (
        f"no expert is close to this domain: the most similar texts are those of {nearest!r} (cosine "
        f"{cosine[nearest]:.2f}), and no expert was trained for types with names close to {_listed(unknown)}; "
        f"expect much to be missed or wrong{'' if base_types else ', unless the base itself was taught them'}",
    )


def familiarity(
    types: Sequence[EntityType], experts: Mapping[str, ExpertCard], base_types: Collection[str] = ()
) -> npt.NDArray[np.float32]:
    """For each type, the cosine of its name with the one most like it that an expert was taught.

    It is 1 for a type that the base was taught by that very name: the limits of likeness that do well are so high that
    hardly another name passes them, and names alone need no embeddings of a thousand others.
    """
    taught = {name.casefold() for name in base_types}
    known = np.array([t.name.casefold() in taught for t in types])
    return np.where(known, np.float32(1), type_similarity(types, experts))


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
