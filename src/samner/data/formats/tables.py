"""CSV and TSV: a text a row under a header, or a token a row as Kaggle has it.

The text is in the column ``text``, or another that its name or the user tells; columns of labels hold JSON (a list of
entities, ...); every other column is the text's meta.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from samner.data import tags
from samner.data.formats import columns, jsonl
from samner.data.formats.base import Format
from samner.data.lines import Source, writing
from samner.data.validation import check_example, located, to_record
from samner.entities import Example
from samner.errors import DataError

_TEXT_NAMES = ("text", "sentence", "content", "document", "body", "message", "abstract", "tweet", "review")
_JSON = re.compile(r"\s*\[")
_NAME = re.compile(r"[\w#.:-][\w #.:-]{0,39}")
_LABELS = (
    "entities",
    "label",
    "labels",
    "spans",
    "ents",
    "annotations",
    "tokens",
    "ner_tags",
    "tokenized_text",
    "ner",
)


def looks(source: Source) -> bool:
    """Whether it is a table by its suffix, or begins with a header that names a text or a token and its tag."""
    rows = source.text_head().lstrip("\ufeff").split("\n")
    if source.suffix == ".csv":
        return True
    cells = _cells(rows[0], _delimiter(rows[0], source.suffix))
    names = [cell.strip().lower() for cell in cells]
    # a blank after a comma is how sentences are written, not tables
    if len(cells) > 1 and len(set(names)) == len(names) and all(map(_NAME.fullmatch, cells)):
        other = len(rows) > 1 and len(_cells(rows[1], _delimiter(rows[0], source.suffix))) == len(cells)
        if other and (set(names) & {"text", "sentence", "content"} or _tagged(names)):
            return True
    return source.suffix == ".tsv" and "\t" in rows[0] and _text_by_content(source) is not None


def read(source: Source, labelled: bool, column: str | None) -> Iterator[Example]:
    """Read a text a row, or a token a row where columns are named so."""
    rows = _rows(source)
    try:
        place, first = next(rows)
    except StopIteration:
        return
    names = [cell.strip().lower() for cell in first]
    if column is None and _tagged(names):
        yield from _tokens(rows, first, names, labelled)
        return
    rows = ((place, cells) for place, cells in rows if cells)
    if column is None and not set(names) & {*_TEXT_NAMES, "tokens"}:
        number = _text_by_content(source)
        if number is None:
            raise DataError(
                f"{place}: no column can be told to be the text; there are {', '.join(first)}: name it as in "
                "--format csv:COLUMN"
            )
        other = [f"column {i}" for i in range(1, len(first) + 1)]
        header = ["text" if i == number else "id" if len(first) == 2 else other[i] for i in range(len(first))]
        rows = _again(place, first, rows)
    else:
        header = [cell.strip() for cell in first]
        column = column or _text_column(place, header)
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise DataError(f"{place}: has two columns {twice!r}; rename one")
    if column is not None and column not in header:
        raise DataError(f"{place}: has no column {column!r}; there are {', '.join(header)}")
    yield from jsonl.examples(_records(rows, header, labelled), labelled, column, noting=source.noting)


def write(examples: Iterable[Example], path: Path, delimiter: str = ",") -> None:
    """Write texts, their entities as JSON, and their meta, a column each; what is no string is written as JSON."""
    records = []
    for number, example in enumerate(examples, start=1):
        with located(f"{path}: example {number}"):
            check_example(example)
            records.append(to_record(example))
    header = list(dict.fromkeys(key for record in records for key in record)) or ["text", "entities"]
    with writing(path) as handle:
        text = io.TextIOWrapper(handle, "utf-8", newline="", write_through=True)
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(record.get(name)) for name in header] for record in records)
        text.detach()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _records(
    rows: Iterable[tuple[str, list[str]]], header: Sequence[str], labelled: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, cells in rows:
        record: dict[str, Any] = dict(zip(header, cells, strict=True))
        for name in _LABELS if labelled else ("tokens",):
            if name in record:
                record[name] = _label(place, name, record[name])
        yield place, record


def _label(place: str, name: str, cell: str) -> Any:
    if not cell.strip() and name in ("entities", "spans", "ents"):
        return None
    if not _JSON.match(cell):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        if name == "label":
            return cell
        raise DataError(f"{place}: column {name!r} is not valid JSON ({error})") from error


def _text_column(place: str, header: list[str]) -> str | None:
    found = [name for name in header if name.lower() in _TEXT_NAMES]
    if not found:
        return None  # tokens
    if exact := [name for name in found if name.lower() == "text"]:
        return exact[0]
    if len(found) > 1:
        raise DataError(f"{place}: {' and '.join(found)} may be the text; name one as in --format csv:{found[0]}")
    return found[0]


def _tokens(
    rows: Iterator[tuple[str, list[str]]], header: list[str], names: list[str], labelled: bool
) -> Iterator[Example]:
    """Texts of a token a row; a text ends where the column of sentences says so."""
    token, tag = (
        next(names.index(n) for n in known if n in names) for known in (columns.TOKEN_NAMES, columns.TAG_NAMES)
    )
    ids = [i for i, name in enumerate(names) if columns.names_text(name) and i not in (token, tag)]
    texts: list[tuple[list[str], list[tuple[str, list[str]]]]] = []
    last: list[str] | None = None
    for place, cells in rows:
        if not any(cell.strip() for cell in cells):
            last = None
            continue
        before = last or [""] * len(ids)
        said = [cells[i] or old for i, old in zip(ids, before, strict=True)]
        if said != last:
            texts.append((said, []))
        last = said
        if cells[token]:
            texts[-1][1].append((place, cells))
        elif cells[tag] not in ("", "O"):
            raise DataError(f"{place}: has the tag {cells[tag]!r} but no token")
    ends = labelled and tags.marks_ends(cells[tag] for _, text in texts for _, cells in text)
    for said, text in texts:
        meta = dict(zip((header[i] for i in ids), said, strict=True))
        where = _where(text)
        row_tags = [cells[tag] for _, cells in text] if labelled else []
        yield tags.decode([cells[token] for _, cells in text], row_tags, where, ends=ends, meta=meta)


def _where(text: list[tuple[str, list[str]]]) -> Callable[[int], str]:
    return lambda index: text[index][0]


def _tagged(names: Sequence[str]) -> bool:
    found = set(names)
    return bool(found & {"token", "word", "form"} and found & set(columns.TAG_NAMES)) and "text" not in found


def _again(place: str, first: list[str], rows: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    yield place, first
    yield from rows


def _rows(source: Source) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of each row, as many as of the first; none of a blank one."""
    csv.field_size_limit(sys.maxsize)
    delimiter = _delimiter(source.text_head().split("\n")[0], source.suffix)
    reader = csv.reader((line for _, line in source.whole_lines()), delimiter=delimiter, strict=True)
    width, line = 0, 1
    while True:
        place = f"{source.name}:{line}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{place}: not valid CSV ({error}); a field with quotes in it doubles them") from error
        line = reader.line_num + 1
        if not width and not cells:
            continue
        width = width or len(cells)
        if len(cells) not in (0, width):
            raise DataError(
                f"{place}: has {len(cells)} columns, but the first row has {width}; a field with {delimiter!r} in it "
                "stands in quotes"
            )
        yield place, cells


def _delimiter(line: str, suffix: str) -> str:
    if suffix == ".tsv":
        return "\t"
    return max(",;\t|", key=lambda mark: len(_cells(line, mark)))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
    except csv.Error:
        return [line]


def _text_by_content(source: Source) -> int | None:
    """Which column of a table without a header is the text: the only one that holds several words a row."""
    lines = [line for line in source.text_head().split("\n") if line.strip()]
    delimiter = _delimiter(lines[0], source.suffix) if lines else ","
    rows = [_cells(line, delimiter) for line in lines]
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return None
    worded = [i for i, cells in enumerate(zip(*rows, strict=True)) if all(" " in cell.strip() for cell in cells)]
    return worded[0] if len(worded) == 1 else None


CSV = Format(read, write, (".csv",), looks)
TSV = Format(read, partial(write, delimiter="\t"))
