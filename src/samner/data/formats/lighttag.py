"""LightTag's JSON: ``{"examples": [{"content": ..., "annotations": [{"start", "end", "tag", "value"}]}]}``."""

from __future__ import annotations

from samner.data.formats.base import Dialect, Record, rest
from samner.data.validation import example_from_fields
from samner.entities import Example


def _matches(record: Record) -> bool:
    has_text = "text" in record or "content" in record
    return has_text and "entities" not in record and isinstance(record.get("annotations"), list)


def _read(record: Record, labelled: bool) -> Example:
    key = "text" if "text" in record else "content"
    if not labelled:
        return example_from_fields(record[key], None, rest(record, key))
    return example_from_fields(record[key], record["annotations"], rest(record, key, "annotations"), "annotations")


DIALECT = Dialect(_matches, _read, None)
