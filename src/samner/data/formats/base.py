"""What a format is: how examples lie in a file, and how records of other tools are told apart."""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from samner.data.lines import Source
from samner.entities import Example
from samner.errors import DataError

Record: TypeAlias = Mapping[str, Any]

# Keys that labels come under; of others, a value that looks like spans tells.
_LABEL_KEYS = {
    "ents",
    "spans",
    "label",
    "labels",
    "annotations",
    "annotation",
    "ner",
    "ner_tags",
    "tags",
    "mentions",
    "entities",
}


_BEGINS = re.compile("start|begin|offset")
_CALLS = re.compile("(label|labels|tag|tags|type|types|entity|entities|class|category|group|kind|concept|name)$")
_TAG = re.compile("[BI]-.+")


class Rows(NamedTuple):
    """What a file of columns holds, as it is: an Arrow schema, and record batches of it, none of many rows."""

    schema: Any
    batches: Iterator[Any]


@dataclass(frozen=True, slots=True)
class Format:
    """How examples lie in a file.

    Args:
        read: Takes what is read, whether labels are wanted (without them it must not look at labels), and the column
            that holds the text, if the user named one.
        write: Takes examples and the path; None if the format is only read.
        suffixes: Of the files that are written this way unless told otherwise.
        looks: Whether what is read is of this format, by its content; None if only its name or suffix tells.
        keeps: What comes back as it was: of ``"entities"``, their ``"ids"``, and ``"meta"``.
        rows: Reads columns as they are, where the format is of columns.
        write_rows: Writes such columns.
        library: Imports what writing needs; takes the name of the file, for the error that it is not installed.
    """

    read: Callable[[Source, bool, str | None], Iterator[Example]]
    write: Callable[[Iterable[Example], Path], None] | None
    suffixes: tuple[str, ...] = ()
    looks: Callable[[Source], bool] | None = None
    keeps: tuple[str, ...] = ("entities", "ids", "meta")
    rows: Callable[[Source], AbstractContextManager[Rows]] | None = None
    write_rows: Callable[[Rows, Path], None] | None = None
    library: Callable[[str], Any] | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a tool writes a text and its labels as one JSON object.

    Args:
        matches: Whether an object is of this dialect.
        read: Takes the object and whether labels are wanted.
        write: The object of an example; None if the dialect is only read.
        array: Whether the objects of a file are one JSON array, not a line each.
        ids: Whether it has a place for what single entities are called.
    """

    matches: Callable[[Record], bool]
    read: Callable[[Record, bool], Example]
    write: Callable[[Example], dict[str, Any]] | None
    array: bool = False
    ids: bool = True


def rest(record: Record, *used: str) -> dict[str, Any]:
    """What a record holds beside what was used of it; samner's own keys are never left."""
    return {key: value for key, value in record.items() if key not in (*used, "text", "entities")}


def refuse_unknown_labels(record: Record) -> None:
    """Refuse a record with what looks like labels, of which none is known: it is not a text without entities.

    Raises:
        DataError: If so; it names the key.
    """
    if key := _like_labels(record):
        raise DataError(
            f'{key!r} looks like labels, but not of any tool that is known; samner reads "entities": '
            '[{"start": 0, "end": 5, "label": "person"}] beside "text"'
        )


def _like_labels(record: Record) -> str | None:
    for key, value in record.items():
        if key in ("tokens", "text"):
            continue
        value = _written_out(value)
        inner = list(value.values()) if isinstance(value, Mapping) else [value]
        if any(isinstance(item, list) and item and all(map(_like_span, item)) for item in inner):
            return key
        if key.lower() in _LABEL_KEYS and isinstance(value, list | Mapping) and value and not _all_plain(value):
            return key
    return None


def _written_out(value: object) -> object:
    """The list or mapping that a string stands for, as a cell of CSV does: in JSON, or as Python writes it."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    for reads in (json.loads, ast.literal_eval):  # the latter makes plain values only, too
        try:
            return reads(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return value


def _like_span(item: object) -> bool:
    if isinstance(item, list):
        return sum(type(part) is int for part in item) >= 2 and any(isinstance(part, str) for part in item)
    if not isinstance(item, Mapping):
        return False
    keys = [key.lower() for key in item]
    starts = any(key.startswith(("from", "span", "location")) or _BEGINS.search(key) for key in keys)
    return starts and any(_CALLS.search(key) for key in keys)


def _all_plain(value: object) -> bool:
    """Whether it is names alone, none of them a tag of BIO."""
    return isinstance(value, list) and all(isinstance(item, str) and not _TAG.fullmatch(item) for item in value)


def plain(value: Any) -> Any:
    """A value as JSON has it; NaN, the gap in a column of floats, is null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time | decimal.Decimal | datetime.timedelta):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value
