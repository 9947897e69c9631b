"""Plain text: one text a line, no labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from samner.data.lines import read_lines, write_text
from samner.entities import Example
from samner.errors import DataError


def read(path: Path, labelled: bool) -> Iterator[Example]:
    """Read one text a line; lines that are blank are skipped."""
    return (Example(line) for _, line in read_lines(path) if line.strip())


def write(examples: Iterable[Example], path: Path) -> None:
    """Write one text a line; refuses what would not come back: entities, line breaks, blank texts."""
    write_text(examples, path, _format)


def _format(example: Example) -> str:
    if example.entities:
        raise DataError("plain text cannot hold entities; write jsonl")
    if not example.text.strip() or "\n" in example.text or example.text.endswith("\r"):
        raise DataError("plain text cannot hold a text that is blank or has a line break in it; write jsonl")
    return example.text + "\n"
