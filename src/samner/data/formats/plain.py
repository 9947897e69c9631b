"""Plain text: one text a line, no labels. A blank line is a text, too, so that what comes out stays in step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from samner.data.formats.base import Format
from samner.data.lines import Source, write_text
from samner.entities import Example
from samner.errors import DataError


def read(source: Source, labelled: bool, column: str | None) -> Iterator[Example]:
    """Read one text a line."""
    if column is not None:
        raise DataError(f"{source.name}: plain text has no columns ({column!r})")
    seen = False
    for _, line in source.lines():
        seen = seen or bool(line.strip())
        yield Example(line)
    if not seen:
        raise DataError(f"{source.name}: holds no text; at least one is needed")


def write(examples: Iterable[Example], path: Path) -> None:
    """Write one text a line; refuses what would not come back: entities, line breaks."""
    write_text(examples, path, _format)


def _format(example: Example) -> str:
    if example.entities:
        raise DataError("plain text cannot hold entities; write jsonl")
    if "\n" in example.text or example.text.endswith("\r"):
        raise DataError("plain text cannot hold a text that has a line break in it; write jsonl")
    return example.text + "\n"


FORMAT = Format(read, write, (".txt", ".md"), keeps=())
