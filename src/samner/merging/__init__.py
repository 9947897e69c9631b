"""LoRA experts merged in weight space: TIES, DARE and task arithmetic on exact dense task vectors.

Example:
    >>> from samner.merging import LoraAdapter, merge
    >>> adapters = [LoraAdapter.load("pool/news"), LoraAdapter.load("pool/medicine")]  # doctest: +SKIP
    >>> deltas = merge(adapters, method="ties", density=0.2)  # doctest: +SKIP
"""

from __future__ import annotations

from samner.merging.api import iter_merge, merge
from samner.merging.methods import MergeMethod, merge_method, methods
from samner.merging.task_vectors import LoraAdapter, LoraFactors

__all__ = ["LoraAdapter", "LoraFactors", "MergeMethod", "iter_merge", "merge", "merge_method", "methods"]
