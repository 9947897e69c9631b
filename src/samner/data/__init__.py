"""Read and write labelled and unlabelled text: JSON Lines, CoNLL, plain text, Hugging Face datasets."""

from __future__ import annotations

from samner.data.datasets import iter_examples, iter_texts, read_examples, read_texts, write_examples
from samner.data.formats.datasets import from_dataset, to_dataset

__all__ = [
    "from_dataset",
    "iter_examples",
    "iter_texts",
    "read_examples",
    "read_texts",
    "to_dataset",
    "write_examples",
]
