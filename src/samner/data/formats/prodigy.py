"""Prodigy's JSON Lines: ``spans`` of objects; spans of a record whose ``answer`` is no "accept" are not gold."""

from __future__ import annotations

from typing import Any

from samner.data.formats.base import Dialect, Record, rest
from samner.data.validation import declines, example_from_fields, id_of
from samner.entities import Example


def _matches(record: Record) -> bool:
    return "text" in record and "entities" not in record and isinstance(record.get("spans"), list)


def _read(record: Record, labelled: bool) -> Example:
    if not labelled or declines(record):
        return example_from_fields(record["text"], None, rest(record))  # the spans stay as they are
    return example_from_fields(record["text"], record["spans"], rest(record, "spans"), "spans")


def _write(example: Example) -> dict[str, Any]:
    spans = [{"start": e.start, "end": e.end, "label": e.label, **id_of(e)} for e in example.entities]
    return {"text": example.text, "spans": spans, **example.meta}


DIALECT = Dialect(_matches, _read, _write)
