"""Labelled and unlabelled text, read from and written to any format.

In come files, folders, standard input or Hugging Face datasets; out go ``Example``s (text, entities, meta), checked,
or the other way round. ``formats/`` has one file a format and the registry that tells which a file is; ``tags`` makes
entities of tokens; ``validation`` says what is valid; ``lines`` opens, decompresses and writes. May import the ground
floor (entities, words, files, errors); spaCy, pyarrow, datasets and zstandard only where a file needs them.
"""

from __future__ import annotations

from samner.data.datasets import iter_examples, iter_texts, read_examples, read_gold, read_texts, write_examples
from samner.data.formats.datasets import from_dataset, to_dataset

__all__ = [
    "from_dataset",
    "iter_examples",
    "iter_texts",
    "read_examples",
    "read_gold",
    "read_texts",
    "to_dataset",
    "write_examples",
]
