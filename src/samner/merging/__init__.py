"""LoRA experts merged in weight space: TIES, DARE, task arithmetic and more, on exact task vectors of any size.

In come adapters (``samner.lora``), weights and a method; out come merged task vectors, tile by tile, module by module
or as low-rank factors, and files of them. The base model is not needed. May import the ground floor only.

Example:
    >>> from samner.merging import LoraAdapter, merge
    >>> adapters = [LoraAdapter.load("news"), LoraAdapter.load("medicine")]
    >>> deltas = merge(adapters, method="ties", density=0.2)
"""

from __future__ import annotations

from samner.lora import LoraAdapter, LoraFactors
from samner.merging import methods as _methods  # noqa: F401 - registers them
from samner.merging.merger import MergedDeltas, Merger, merge
from samner.merging.registry import MergeMethod, make_method, merge_method, methods

__all__ = [
    "LoraAdapter",
    "LoraFactors",
    "MergeMethod",
    "MergedDeltas",
    "Merger",
    "make_method",
    "merge",
    "merge_method",
    "methods",
]
