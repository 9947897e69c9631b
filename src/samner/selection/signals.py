"""The signals by which experts can be selected: one registry, of one function each, that ranks a pool for a domain.

A new signal is a function from a ``Target`` to a ``Selection`` in a file of its own, and an entry in ``SIGNALS``; its
name is then a mode of ``samner.adapt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from samner.entities import EntityType
from samner.pool import ExpertCard, ExpertPool
from samner.selection.result import Count, Selection
from samner.selection.sampling import select_by_sampling
from samner.selection.similarity import select_by_similarity
from samner.selection.warning import unfamiliar


@dataclass(frozen=True)
class Target:
    """A domain nobody labelled, and the pool whose experts are to be ranked for it.

    Args:
        pool: Holds the experts.
        experts: The cards of those that may be chosen, by name.
        texts: Unlabelled texts of the domain.
        types: The entity types to look for.
        count: How many experts a signal chooses.
        samples: How many texts a signal draws, if it does.
        seed: Of the draw.
    """

    pool: ExpertPool
    experts: Mapping[str, ExpertCard]
    texts: Sequence[str]
    types: Sequence[EntityType]
    count: Count = 3
    samples: int = 10
    seed: int = 0

    @cached_property
    def similarity(self) -> Selection:
        """The experts by similarity, which breaks ties of other signals."""
        return select_by_similarity(self.experts, self.texts, self.count)


Signal: TypeAlias = Callable[[Target], Selection]


def by_similarity(target: Target) -> Selection:
    """See ``select_by_similarity``."""
    return target.similarity


def by_sampling(target: Target) -> Selection:
    """See ``select_by_sampling``; loads the experts."""
    cosine = target.similarity.cosine  # what is wrong with the texts is said before the base model is loaded
    target.pool.load_experts(target.experts)
    options = {"count": target.count, "samples": target.samples, "seed": target.seed}
    return select_by_sampling(target.pool.backbone, cosine, target.texts, target.types, **options)  # type: ignore[arg-type]


SIGNALS: dict[str, Signal] = {"similarity": by_similarity, "sampling": by_sampling}
"""The signals by name."""


def select_by(signals: Iterable[str], target: Target) -> dict[str, Selection]:
    """Rank experts by several signals.

    Returns:
        What each decided, by its name; all warn if no expert is close to the domain.
    """
    far = unfamiliar(target.experts, target.similarity.cosine, target.types)
    selections = {name: SIGNALS[name](target) for name in signals}
    return {name: replace(s, warnings=tuple(dict.fromkeys((*far, *s.warnings)))) for name, s in selections.items()}
