"""Readers of the sources' files, by name.

A reader of texts takes the files of a source and the part that is wanted, and yields documents: runs of texts that a
split must not part. What samner's own formats read is read by them; the rest is what only the source writes so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from samner.entities import Example
from studies.data.readers import dialogues, documents, markup, records, tokens, types
from studies.data.sources import Files

Reader: TypeAlias = Callable[[Files, str], Iterable[Sequence[Example]]]

READERS: dict[str, Reader] = {
    reader.__name__: reader
    for reader in (
        tokens.columns,
        tokens.layers,
        tokens.questions,
        tokens.sentences,
        tokens.paired,
        records.indian_legal,
        records.spans,
        records.events,
        records.trials,
        records.drug_safety,
        records.work_orders,
        records.products,
        records.ingredients,
        records.workbook,
        dialogues.parse_trees,
        dialogues.turns,
        dialogues.suggestions,
        dialogues.meaning_representations,
        dialogues.annotated_queries,
        dialogues.utterances,
        documents.lines,
        documents.mentions,
        documents.procedures,
        documents.experiments,
        markup.tagged_strings,
        markup.references,
        markup.sentences_with_names,
        markup.threat_descriptions,
    )
}

TYPES: dict[str, Callable[[Files], dict[str, Any]]] = {
    reader.__name__: reader for reader in (types.definitions, types.other_names)
}
"""Readers of what is said of types."""
