"""Which experts of a pool fit a domain nobody labelled."""

from __future__ import annotations

from samner.selection.result import PseudoLabel, Selection
from samner.selection.sampling import select_by_sampling
from samner.selection.similarity import select_by_similarity

__all__ = ["PseudoLabel", "Selection", "select_by_sampling", "select_by_similarity"]
