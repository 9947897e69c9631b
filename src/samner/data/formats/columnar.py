"""Parquet and Arrow: a text a row, its entities a list of objects, or tokens and tags; other columns are its meta.

Files are read and written a record batch at a time, so that they may be larger than memory.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from samner.data.formats import jsonl
from samner.data.formats.base import Format, Rows, plain
from samner.data.lines import Source, writing
from samner.data.validation import check_example, located, to_record
from samner.entities import Entity, Example, to_fields
from samner.errors import DataError

_JSON = {b"samner": b"json"}
_STREAM = b"\xff\xff\xff\xff"
_BATCH_ROWS = 1024
_GROUP_BYTES = 1 << 26
"""Of a row group or record batch that is written, about."""
_INT64 = 1 << 63


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
    library(str(path))
    with TemporaryFile("w+", encoding="utf-8") as spool:  # of which type a column is, is known at the end only
        columns = _Columns()
        for number, example in enumerate(examples, start=1):
            with located(f"{path}: example {number}"):
                check_example(example)
                columns.add(example)
                try:
                    spool.write(json.dumps(to_record(example)) + "\n")
                except (TypeError, ValueError) as error:
                    raise DataError(f"meta holds what JSON has no word for ({error})") from error
        spool.seek(0)
        write_rows(columns.rows(map(json.loads, spool)), path, kind)


def write_rows(rows: Rows, path: Path, kind: str) -> None:
    """Write columns as they are: ``"parquet"``, or ``"arrow"``, which is Arrow's file."""
    with writing(path) as handle:
        write_to(rows, handle, kind)


def write_to(rows: Rows, handle: IO[bytes], kind: str) -> None:
    """As :func:`write_rows`, to an open file; ``"stream"`` is Arrow's stream."""
    pyarrow = library("")
    opened = {
        "parquet": pyarrow.parquet.ParquetWriter,
        "arrow": pyarrow.ipc.new_file,
        "stream": pyarrow.ipc.new_stream,
    }
    with opened[kind](handle, rows.schema) as writer:
        for table in _groups(rows):
            writer.write_table(table)


def beside(rows: Rows, column: str | None, found: Iterable[Example], name: str) -> Rows:
    """The columns with the text in ``text`` and its entities in ``entities``; all others as they are.

    Args:
        rows: That the texts were read from.
        column: Of the texts; ``text`` if None.
        found: For each row the text and its entities.
        name: Of what is read, for the message.

    Raises:
        DataError: While it is read: if the texts are others.
    """
    pyarrow = library(name)
    column = column or "text"
    kept = [field for field in rows.schema if field.name not in {"text", "entities"} - {column}]
    text, entities = pyarrow.field("text", pyarrow.string()), pyarrow.field("entities", entities_type())
    fields = [text if field.name == column else field for field in kept]
    fields = [*fields, entities] if text in fields else [text, *fields, entities]
    schema = pyarrow.schema(fields, metadata=rows.schema.metadata)

    def batches() -> Iterator[Any]:
        remaining = iter(found)
        for batch in rows.batches:
            examples = list(islice(remaining, batch.num_rows))
            texts = [example.text for example in examples]
            same = column not in batch.schema.names or batch[column].to_pylist() == texts
            if not same or len(texts) != batch.num_rows:
                raise DataError(f"{name}: was changed while its texts were read; its columns are not of these texts")
            values = {field.name: batch[field.name] for field in kept}
            values["text"] = pyarrow.array(texts, text.type)
            values["entities"] = pyarrow.array([_fields(e.entities, e.text) for e in examples], entities.type)
            yield pyarrow.RecordBatch.from_arrays([values[field.name] for field in schema], schema=schema)
        if next(remaining, None) is not None:
            raise DataError(f"{name}: was changed while its texts were read; it holds fewer now")

    return Rows(schema, batches())


def entities_type(called: Any = None) -> Any:
    """The Arrow type of a text's entities.

    Args:
        called: Type of their ids, if they have any.
    """
    pyarrow = library("")
    string, integer = pyarrow.string(), pyarrow.int64()
    fields = {"start": integer, "end": integer, "label": string, "text": string, "score": pyarrow.float64()}
    fields |= {"found_by": pyarrow.list_(string), "aligned": string} | ({"id": called} if called else {})
    return pyarrow.list_(pyarrow.struct(fields))


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
    for key, cell in row.items():
        value = cell if key in coded else plain(cell)
        if value is not None or key in ("text", "entities", "tokens", "ner_tags"):
            record[key] = json.loads(value) if key in coded else _named(value, names.get(key))
    return record


class _Columns:
    """The columns of examples that are seen one by one."""

    def __init__(self) -> None:
        self._kinds: dict[str, set[type]] = {}
        self._ids: set[type] = set()

    def add(self, example: Example) -> None:
        for name, value in example.meta.items():
            is_plain = type(value) in (str, float, bool) or (type(value) is int and -_INT64 <= value < _INT64)
            self._kinds.setdefault(name, set()).add(type(value) if is_plain else object)
        self._ids.update(type(entity.id) for entity in example.entities if entity.id is not None)

    def rows(self, records: Iterator[dict[str, Any]]) -> Rows:
        pyarrow = library("")
        types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        called = types[str if len(self._ids) > 1 else next(iter(self._ids))] if self._ids else None
        fields = [pyarrow.field("text", types[str]), pyarrow.field("entities", entities_type(called))]
        coded = set()
        for name, kinds in self._kinds.items():
            if len(kinds) == 1 and object not in kinds:
                fields.append(pyarrow.field(name, types[next(iter(kinds))]))
            else:
                coded.add(name)
                fields.append(pyarrow.field(name, types[str], metadata=_JSON))
        schema = pyarrow.schema(fields)

        def batches() -> Iterator[Any]:
            while some := list(islice(records, _BATCH_ROWS)):
                for record in some:
                    for entity in record["entities"]:
                        if len(self._ids) > 1 and "id" in entity:
                            entity["id"] = str(entity["id"])
                    record.update({name: json.dumps(record[name]) for name in coded.intersection(record)})
                yield pyarrow.RecordBatch.from_pylist(some, schema)

        return Rows(schema, batches())


def _fields(entities: Sequence[Entity], text: str) -> list[dict[str, Any]]:
    return [to_fields(entity, text) for entity in entities]


def _groups(rows: Rows) -> Iterator[Any]:
    """Tables of as many rows as make a good row group."""
    pyarrow = library("")
    gathered: list[Any] = []
    for batch in rows.batches:
        gathered.append(batch)
        if sum(one.nbytes for one in gathered) > _GROUP_BYTES:
            yield pyarrow.Table.from_batches(gathered, rows.schema).combine_chunks()
            gathered = []
    if gathered:
        yield pyarrow.Table.from_batches(gathered, rows.schema).combine_chunks()


def _records(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    with read_rows(source) as (schema, batches):
        names = _class_names(schema.metadata or {})
        coded = {field.name for field in schema if _JSON.items() <= (field.metadata or {}).items()}
        for batch in batches:
            with _reading(source.name):
                records = [record_of(row, names, coded) for row in batch.to_pylist()]
            for record in records:
                yield f"{source.name}[{number}]", record
                number += 1


@contextmanager
def read_rows(source: Source) -> Iterator[Rows]:
    """The columns of a file, read batch by batch.

    Raises:
        DataError: If it cannot be read, also while batches are taken.
    """
    pyarrow = library(source.name)
    with source.seekable() as handle:
        with _reading(source.name):
            if is_parquet(source):
                parquet = pyarrow.parquet.ParquetFile(handle, buffer_size=1 << 20)
                schema, batches = parquet.schema_arrow, parquet.iter_batches(_BATCH_ROWS)
            elif source.head.startswith(_STREAM):
                batches = pyarrow.ipc.open_stream(handle)
                schema = batches.schema
            else:
                file = pyarrow.ipc.open_file(handle)
                schema, batches = file.schema, map(file.get_batch, range(file.num_record_batches))
        yield Rows(schema, _small(iter(batches), source.name))


def _small(batches: Iterator[Any], name: str) -> Iterator[Any]:
    while True:
        with _reading(name):
            batch = next(batches, None)
        if batch is None:
            return
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            with _reading(name):
                part.validate(full=True)  # offsets of a damaged file may lead anywhere
            yield part


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what a damaged file raises is anything, from ArrowInvalid to UnicodeDecodeError
        said = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be read as Parquet or Arrow ({said})") from error


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


def _format(kind: str, suffixes: tuple[str, ...], looks: Any) -> Format:
    rows: dict[str, Any] = {"rows": read_rows, "write_rows": partial(write_rows, kind=kind), "library": library}
    return Format(read, partial(write, kind=kind), suffixes, looks, **rows)


PARQUET = _format("parquet", (".parquet",), is_parquet)
ARROW = _format("arrow", (".arrow", ".feather"), is_arrow)
