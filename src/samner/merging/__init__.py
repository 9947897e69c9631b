"""LoRA experts merged in weight space: TIES, DARE, task arithmetic and more, on exact task vectors of any size.

Example:
    >>> from samner.merging import LoraAdapter, merge
    >>> adapters = [LoraAdapter.load("news"), LoraAdapter.load("medicine")]
    >>> deltas = merge(adapters, method="ties", density=0.2)
"""

from __future__ import annotations

from samner.lora import LoraAdapter, LoraFactors
from samner.merging.api import merge
from samner.merging.merger import Merger
from samner.merging.methods import breadcrumbs, dare, della, knots, linear, ties  # noqa: F401 - each registers its methods
from samner.merging.registry import MergeMethod, make_method, merge_method, methods

__all__ = [
    "LoraAdapter",
    "LoraFactors",
    "MergeMethod",
    "Merger",
    "make_method",
    "merge",
    "merge_method",
    "methods",
]
