"""Which experts of a pool fit a domain nobody labelled.

Unlabelled texts, entity types and a pool come in; a ``Selection`` for each signal (similarity, sampling) goes out,
with every score it decided by. May import ``pool``, ``backbones`` (their interface) and the ground floor.
"""

from __future__ import annotations

from samner.selection.result import AUTO, Count, PseudoLabel, Selection, check_count
from samner.selection.sampling import select_by_sampling
from samner.selection.signals import SIGNALS, select_by, unfamiliar
from samner.selection.similarity import Target, select_by_similarity

__all__ = [
    "AUTO",
    "SIGNALS",
    "Count",
    "PseudoLabel",
    "Selection",
    "Target",
    "check_count",
    "select_by",
    "select_by_sampling",
    "select_by_similarity",
    "unfamiliar",
]
