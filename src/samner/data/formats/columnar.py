"""Parquet and Arrow: a text a row, its entities a list of objects, or tokens and tags; other columns are its meta."""

from __future__ import annotations

import io
import json
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from samner.data.formats import jsonl
from samner.data.formats.base import Format, plain
from samner.data.lines import Source, writing
from samner.data.validation import check_example, located, to_record
from samner.entities import Example
from samner.errors import DataError

_JSON = {b"samner": b"json"}
_STREAM = b"\xff\xff\xff\xff"


def is_parquet(source: Source) -> bool:
    """Whether it is Parquet."""
    return source.head.startswith(b"PAR1")


def is_arrow(source: Source) -> bool:
    """Whether it is Arrow's file or stream."""
    return source.head.startswith((b"ARROW1", _STREAM))


def read(source: Source, labelled: bool, column: str | None) -> Iterator[Example]:
    """Read the rows of a file, batch by batch."""
    yield from jsonl.examples(_records(source), labelled, column, noting=source.noting)


def write(examples: Iterable[Example], path: Path, kind: str) -> None:
    """Write a file; entities as objects, meta as it is or, where it is not of one plain type, as JSON that says so."""
    pyarrow = library(str(path))
    records = []
    for number, example in enumerate(examples, start=1):
        with located(f"{path}: example {number}"):
            check_example(example)
            records.append(to_record(example))
    same_ids([entity for record in records for entity in record["entities"]])
    columns = {"text": [record["text"] for record in records], "entities": [record["entities"] for record in records]}
    fields = [
        pyarrow.field("text", pyarrow.string()),
        pyarrow.field("entities", pyarrow.array(columns["entities"]).type),
    ]
    for name in dict.fromkeys(key for record in records for key in record if key not in columns):
        values = [record[name] for record in records if name in record]
        one = len({type(value) for value in values}) == 1 and type(values[0]) in (str, int, float, bool)
        if one:
            columns[name] = [record.get(name) for record in records]
            fields.append(pyarrow.field(name, pyarrow.array(values).type))
        else:
            columns[name] = [json.dumps(record[name]) if name in record else None for record in records]
            fields.append(pyarrow.field(name, pyarrow.string(), metadata=_JSON))
    table = pyarrow.table(columns, schema=pyarrow.schema(fields))
    with writing(path) as handle:
        if kind == "parquet":
            pyarrow.parquet.write_table(table, handle)
        else:
            with pyarrow.ipc.new_file(handle, table.schema) as writer:
                writer.write_table(table)


def same_ids(entities: Iterable[dict[str, Any]]) -> bool:
    """Make the ids of entities, where there are any, of one type, as a column must be; whether there are."""
    named = [entity for entity in entities if "id" in entity]
    if len({type(entity["id"]) for entity in named}) > 1:
        for entity in named:
            entity["id"] = str(entity["id"])
    return bool(named)


def record_of(
    row: Mapping[str, Any], names: Mapping[str, list[str] | None], coded: Container[str] = ()
) -> dict[str, Any]:
    """A row as JSON has it. A null is a gap, and left out, but where the text or its labels should be.

    Args:
        row: Its values by column.
        names: By column, names of the numbers in it.
        coded: Columns that hold JSON.
    """
    record = {}
    for key, value in row.items():
        if value is not None or key in ("text", "entities", "tokens", "ner_tags"):
            record[key] = json.loads(value) if key in coded else _named(plain(value), names.get(key))
    return record


def _records(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    library(source.name)
    number = 0
    try:
        for rows, names, coded in _batches(source):
            for row in rows:
                yield f"{source.name}[{number}]", record_of(row, names, coded)
                number += 1
    except DataError:
        raise
    except Exception as error:  # what a damaged file raises is anything, from ArrowInvalid to UnicodeDecodeError
        said = " ".join(str(error).split())
        raise DataError(f"{source.name}: cannot be read as Parquet or Arrow ({said})") from error


def _batches(source: Source) -> Iterator[tuple[list[dict[str, Any]], dict[str, list[str]], set[str]]]:
    pyarrow = library(source.name)
    handle = io.BytesIO(source.content())
    if is_parquet(source):
        parquet = pyarrow.parquet.ParquetFile(handle)
        schema, batches = parquet.schema_arrow, parquet.iter_batches()
    elif source.head.startswith(_STREAM):
        batches = pyarrow.ipc.open_stream(handle)
        schema = batches.schema
    else:
        file = pyarrow.ipc.open_file(handle)
        schema, batches = file.schema, map(file.get_batch, range(file.num_record_batches))
    coded = {field.name for field in schema if _JSON.items() <= (field.metadata or {}).items()}
    for batch in batches:
        batch.validate(full=True)  # offsets of a damaged file may lead anywhere
        yield batch.to_pylist(), _class_names(schema.metadata or {}), coded


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the numbers in columns of class labels, as Hugging Face datasets keep them."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        inner = {name: feature.get("feature", feature) for name, feature in features.items()}
        return {name: feature["names"] for name, feature in inner.items() if "names" in feature}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _named(value: Any, names: list[str] | None) -> Any:
    """A list of tags by their names, if they are numbers that have some."""
    if names is None or not isinstance(value, list):
        return value
    return [names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else tag for tag in value]


def library(name: str) -> Any:
    """The package pyarrow, of which both formats are."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{name}: Parquet and Arrow need pyarrow: pip install 'samner[formats]'") from error
    return pyarrow


PARQUET = Format(read, partial(write, kind="parquet"), (".parquet",), is_parquet)
ARROW = Format(read, partial(write, kind="arrow"), (".arrow", ".feather"), is_arrow)
