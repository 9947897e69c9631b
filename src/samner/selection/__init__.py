"""Which experts of a pool fit a domain nobody labelled."""

from __future__ import annotations

from samner.selection.how_many import AUTO, Count, check_count
from samner.selection.result import PseudoLabel, Selection
from samner.selection.sampling import select_by_sampling
from samner.selection.similarity import select_by_similarity
from samner.selection.warning import unfamiliar

__all__ = [
    "AUTO",
    "Count",
    "PseudoLabel",
    "Selection",
    "check_count",
    "select_by_sampling",
    "select_by_similarity",
    "unfamiliar",
]
