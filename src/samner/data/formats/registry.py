"""The table of formats. A new format is a module with ``read`` and ``write``, and a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from samner.data.formats import conll, datasets, jsonl, plain
from samner.data.lines import STANDARD_STREAM
from samner.entities import Example
from samner.errors import DataError


@dataclass(frozen=True, slots=True)
class Format:
    """How examples lie in a file.

    Args:
        suffixes: Of the files that are read this way unless told otherwise.
        read: Takes the path and whether labels are wanted; without them it must not look at labels.
        write: Takes examples and the path; None if the format is only read.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, bool], Iterator[Example]]
    write: Callable[[Iterable[Example], Path], None] | None


FORMATS = {
    "jsonl": Format((".jsonl", ".json"), jsonl.read, jsonl.write),
    "conll": Format((".conll", ".bio", ".iob", ".bioes", ".tsv"), conll.read, conll.write),
    "iob1": Format((), conll.read_iob1, None),
    "text": Format((".txt",), plain.read, plain.write),
    "datasets": Format((), datasets.read, datasets.write),
}


def choose_format(path: Path, format: str | None) -> Format:
    """The format of that name, or by default the one that the path tells.

    Raises:
        DataError: If there is none of that name, or the path does not tell.
    """
    if format is not None:
        if format not in FORMATS:
            raise DataError(f"unknown format {format!r}; known are {', '.join(FORMATS)}")
        return FORMATS[format]
    if path == STANDARD_STREAM:
        return FORMATS["jsonl"]
    if path.is_dir():
        if datasets.is_dataset(path):
            return FORMATS["datasets"]
        raise DataError(f"{path}: is a folder without dataset_info.json; {datasets.what_folder(path)}")
    for chosen in FORMATS.values():
        if path.suffix.lower() in chosen.suffixes:
            return chosen
    suffixes = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)
    raise DataError(
        f"{path}: the suffix {path.suffix!r} names no format; known are {suffixes}, or give the format: "
        f"{', '.join(FORMATS)}"
    )
