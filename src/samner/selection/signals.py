"""The signals by which experts can be selected: a registry of functions that each rank a pool for a domain.

A new signal is a function from a ``Target`` to a ``Selection`` in a file of its own, and an entry here; its name is
then a mode of ``samner.adapt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from samner.selection.result import Selection
from samner.selection.sampling import by_sampling
from samner.selection.similarity import Target, by_similarity
from samner.selection.warning import unfamiliar

Signal: TypeAlias = Callable[[Target], Selection]

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
