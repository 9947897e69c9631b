"""The functions that read and write examples in any format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from samner.data.formats.registry import choose_format
from samner.data.lines import STANDARD_STREAM, source_name
from samner.entities import Example
from samner.errors import DataError


def read_examples(path: str | Path, format: str | None = None) -> list[Example]:
    """Read texts with their entities, all checked; a text without labels has no entities.

    Args:
        path: A file, a folder that ``Dataset.save_to_disk`` wrote, or ``-`` for standard input.
        format: ``jsonl``, ``conll`` (BIO, BIOES or BILOU), ``iob1``, ``text`` or ``datasets``.
            By default the suffix tells; standard input is ``jsonl``.

    Raises:
        DataError: If the format is unknown, the file is missing or empty, or anything in it is not as
            the format wants it; the message is ``path:line: reason, and what would be right``.
    """
    return list(iter_examples(path, format))


def read_texts(path: str | Path, format: str | None = None) -> list[str]:
    """Read texts alone: entities and tags, if there are any, are not looked at.

    Args:
        path: As for :func:`read_examples`.
        format: As for :func:`read_examples`.

    Raises:
        DataError: As :func:`read_examples` does, except for what is wrong with entities.
    """
    return list(iter_texts(path, format))


def iter_examples(path: str | Path, format: str | None = None) -> Iterator[Example]:
    """Like :func:`read_examples`, one at a time; an error comes when its line is reached.

    Raises:
        DataError: As :func:`read_examples` does.
    """
    return _iterate(Path(path), format, labelled=True)


def iter_texts(path: str | Path, format: str | None = None) -> Iterator[str]:
    """Like :func:`read_texts`, one at a time; an error comes when its line is reached.

    Raises:
        DataError: As :func:`read_texts` does.
    """
    return (example.text for example in _iterate(Path(path), format, labelled=False))


def write_examples(examples: Iterable[Example], path: str | Path, format: str | None = None) -> None:
    """Write texts with their entities; a file appears whole or not at all.

    JSON Lines and Hugging Face datasets hold all there is, with scores rounded to four digits. CoNLL holds
    tokens and labels only, so the text comes back as tokens joined by blanks. Plain text holds no entities.

    Args:
        examples: What to write; may be a generator.
        path: A file, a folder for ``datasets``, or ``-`` for standard output.
        format: ``jsonl``, ``conll``, ``text`` or ``datasets``. By default the suffix tells; standard output
            is ``jsonl``.

    Raises:
        DataError: If the format is unknown, an example is not valid or cannot be said in that format, or the
            file cannot be written.
        SamnerError: If the format is ``datasets`` and the folder exists already.
    """
    path = Path(path)
    chosen = choose_format(path, format)
    if chosen.write is None:
        raise DataError(f"{path}: {format} can be read but not written; write conll or jsonl")
    chosen.write(examples, path)


def _iterate(path: Path, format: str | None, *, labelled: bool) -> Iterator[Example]:
    name = source_name(path)
    if path != STANDARD_STREAM and not path.exists():
        raise DataError(f"{name}: no such file or folder")
    empty = True
    for example in choose_format(path, format).read(path, labelled):
        empty = False
        yield example
    if empty:
        raise DataError(f"{name}: holds no text; at least one is needed")
