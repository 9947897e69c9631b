"""doccano's JSON Lines: ``label`` (older: ``labels``) of ``[start, end, name]``; ``entities`` beside relations."""

from __future__ import annotations

from typing import Any

from samner.data.formats.base import Dialect, Record, rest
from samner.data.validation import declines, example_from_fields, id_of
from samner.entities import Example


def _key(record: Record) -> str | None:
    """The key of the spans; a label of a whole document is a string, or a list of strings."""
    if "entities" in record:
        spans = record["entities"]
        return "entities" if isinstance(spans, list) and any("start_offset" in span for span in spans) else None
    for key in ("label", "labels"):
        value = record.get(key)
        if isinstance(value, list) and all(isinstance(item, list) for item in value):
            return key
    return None


def _matches(record: Record) -> bool:
    return "text" in record and _key(record) is not None


def _read(record: Record, labelled: bool) -> Example:
    key = _key(record)
    if not labelled or key is None or declines(record):
        return example_from_fields(record["text"], None, rest(record))
    return example_from_fields(record["text"], record[key], rest(record, key), key)


def _write(example: Example) -> dict[str, Any]:
    if any(e.id is not None for e in example.entities):  # as doccano writes them beside relations, which name them
        spans = [
            {**id_of(e), "label": e.label, "start_offset": e.start, "end_offset": e.end} for e in example.entities
        ]
        return {"text": example.text, "entities": spans, **example.meta}
    label = [[e.start, e.end, e.label] for e in example.entities]
    return {"text": example.text, "label": label, **example.meta}


DIALECT = Dialect(_matches, _read, _write)
