"""The table of formats, and which of them a file is. A new format is a module with a ``FORMAT``, and a row here."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from samner.data.formats import brat, columnar, conll, datasets, jsonl, plain, spacy, tables
from samner.data.formats.base import Format
from samner.data.lines import STANDARD_STREAM, Source, content_suffix
from samner.errors import DataError

FORMATS = {
    "datasets": datasets.FORMAT,
    "brat": brat.FORMAT,
    "parquet": columnar.PARQUET,
    "arrow": columnar.ARROW,
    "docbin": Format(spacy.read, spacy.write, (".spacy",), spacy.looks),
    "conll": Format(conll.read, conll.write, (*conll.SUFFIXES, ".tsv"), conll.looks, ("entities", "meta")),
    "jsonl": jsonl.format_of("samner", jsonl.SUFFIXES),
    **{name: jsonl.format_of(name) for name in jsonl.DIALECTS if name != "samner"},
    "iob1": Format(partial(conll.read, scheme="iob1"), None),
    "io": Format(partial(conll.read, scheme="io"), None),
    "csv": tables.CSV,
    "tsv": tables.TSV,
    "text": plain.FORMAT,
}
"""In the order in which they are tried on a file's content."""

# What is known and not read, by how it begins.
_UNREAD = {
    r"<\?xml|<!DOCTYPE|<(collection|document|html)\b": "is XML or HTML (BioC?); convert it to JSON Lines or BRAT",
    r"#FORMAT=WebAnno": "is WebAnno TSV of INCEpTION; export it as CoNLL instead",
    r"\d+\|[ta]\|": "is PubTator; convert it to BRAT or JSON Lines",
}


def named_format(format: object) -> tuple[str, str | None]:
    """The name of a format, and the column of the text if it is ``name:column``.

    Raises:
        DataError: If there is none of that name.
    """
    name, _, column = str(format).partition(":")
    if name not in FORMATS:
        raise DataError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return name, column or None


def is_data_folder(path: Path) -> bool:
    """Whether a folder is texts: a saved dataset or several splits of one, or documents of BRAT."""
    return datasets.is_dataset(path) or datasets.is_dict(path) or any(path.rglob("*.ann"))


def detect(source: Source) -> str:
    """The name of the format that is read: by content, and by suffix where content leaves it open.

    Raises:
        DataError: If it is a folder, or of a format, that is not read.
    """
    if source.is_folder and not is_data_folder(source.path):
        raise DataError(f"{source.name}: is a folder without dataset_info.json; {datasets.what_folder(source.path)}")
    head = source.text_head()
    for beginning, what in _UNREAD.items():
        if re.match(beginning, head):
            raise DataError(f"{source.name}: {what}")
    for name, format in FORMATS.items():
        if format.looks is not None and format.looks(source):
            return name
    return next((name for name, format in FORMATS.items() if source.suffix in format.suffixes), "text")


def format_of_suffix(path: Path) -> str | None:
    """The name of the format that a file's suffix tells, if it tells one."""
    suffix = content_suffix(path)
    return next((name for name, known in FORMATS.items() if suffix in known.suffixes), None)


def writing_format(path: Path, format: str | None) -> str:
    """The name of the format to write a file in: the one given, or the one that its suffix tells.

    Raises:
        DataError: If it is unknown, or is only read.
    """
    if format is not None:
        named_format(format)
    elif path == STANDARD_STREAM:
        format = "jsonl"
    else:
        format = format_of_suffix(path)
        if format is None:
            suffixes = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)
            names = ", ".join(name for name, known in FORMATS.items() if known.write)
            raise DataError(
                f"{path}: the suffix {content_suffix(path)!r} names no format; known are {suffixes}, or give the "
                f"format: {names}"
            )
    if FORMATS[format].write is None:
        raise DataError(f"{path}: {format} can be read but not written; write conll or jsonl")
    return format
