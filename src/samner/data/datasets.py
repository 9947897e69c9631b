"""The functions that read and write examples in any format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from samner.data.formats import columnar
from samner.data.formats.registry import FORMATS, detect, named_format, writing_format
from samner.data.lines import STANDARD_STREAM, Source, source_name
from samner.data.validation import declines
from samner.entities import Example
from samner.errors import DataError, SamnerError
from samner.files import user_path

log = logging.getLogger(__name__)


def read_examples(path: str | Path, format: str | None = None, *, labelled: bool = True) -> list[Example]:
    """Read texts with their entities and their meta, all checked; a text without labels has no entities.

    Args:
        path: A file, compressed or not, a folder (of BRAT, or that ``Dataset.save_to_disk`` wrote), or ``-`` for
            standard input.
        format: A name of docs/formats.md, ``name:column`` where the text is in another column or key than usual. By
            default the content tells, and the suffix where content leaves it open.
        labelled: If false, labels are not looked at, and what a record holds of them is in its meta.

    Raises:
        DataError: If the format is unknown, the file is missing or empty, or anything in it is not as
            the format wants it; the message is ``path:line: reason, and what would be right``.
    """
    return list(iter_examples(path, format, labelled=labelled))


def read_gold(path: str | Path, format: str | None = None) -> list[Example]:
    """Read texts to score or train against: as :func:`read_examples`, but there must be an entity.

    Raises:
        DataError: Also if no text has one: the labels are then elsewhere, and a score of 0 would say nothing.
    """
    examples = read_examples(path, format)
    if not any(example.entities for example in examples):
        declined = sum(bool(declines(example.meta)) for example in examples)
        why = f" ({declined} of {len(examples)} say that their labels do not count)" if declined else ""
        raise DataError(
            f"{source_name(Path(path))}: no text has an entity, so there is nothing to score or learn from{why}; "
            "'samner data check' shows what is read"
        )
    return examples


def read_texts(path: str | Path, format: str | None = None) -> list[str]:
    """Read texts alone: entities and tags, if there are any, are not looked at.

    Args:
        path: As for :func:`read_examples`.
        format: As for :func:`read_examples`.

    Raises:
        DataError: As :func:`read_examples` does, except for what is wrong with entities.
    """
    return list(iter_texts(path, format))


def iter_examples(
    path: str | Path,
    format: str | None = None,
    *,
    labelled: bool = True,
    problems: list[str] | None = None,
    on_format: Callable[[str], None] | None = None,
) -> Iterator[Example]:
    """Like :func:`read_examples`, one at a time; an error comes when its line is reached.

    Args:
        path: As for :func:`read_examples`.
        format: As for :func:`read_examples`.
        labelled: As for :func:`read_examples`.
        problems: Takes what is wrong with single texts, which are then left out, instead of an error.
        on_format: Called with the format's name.

    Raises:
        DataError: As :func:`read_examples` does.
    """
    known = None if format is None else named_format(format)
    with closing(Source(user_path(path))) as source:
        source.problems = problems
        name, column = known or (detect(source), None)
        if on_format:
            on_format(name)
        empty = not problems
        for example in FORMATS[name].read(source, labelled, column):
            empty = False
            yield example
        if empty and not problems:
            raise DataError(f"{source.name}: holds no text; at least one is needed")


def iter_texts(path: str | Path, format: str | None = None) -> Iterator[str]:
    """Like :func:`read_texts`, one at a time; an error comes when its line is reached.

    Raises:
        DataError: As :func:`read_texts` does.
    """
    return (example.text for example in iter_examples(path, format, labelled=False))


def write_found(
    found: Iterable[Example],
    path: str | Path,
    format: str,
    *,
    source: str | Path,
    source_format: str | None = None,
) -> None:
    """Write texts with the entities found in them, beside the other columns of the file that they were read from.

    From columns (Parquet, Arrow, a saved dataset) to columns, those are written as they are: types, values that JSON
    has no word for, and order; rows are taken batch by batch. Otherwise as :func:`write_examples`.

    Args:
        found: For each text of the source the text and its entities; may be a generator.
        path: As for :func:`write_examples`.
        format: Of what is written.
        source: What the texts were read from.
        source_format: As it was given to read it.

    Raises:
        DataError: As :func:`write_examples`; and if the source holds other texts by now.
    """
    source, path = user_path(source), user_path(path)
    to = FORMATS[writing_format(path, format)]
    if to.write_rows is None or source == STANDARD_STREAM or source.is_fifo():
        return write_examples(found, path, format)
    known = None if source_format is None else named_format(source_format)
    with closing(Source(source)) as opened:
        name, column = known or (detect(opened), None)
        if (rows_of := FORMATS[name].rows) is not None:
            with rows_of(opened) as rows:
                return to.write_rows(columnar.beside(rows, column, found, opened.name), path)
    return write_examples(found, path, format)


def write_examples(examples: Iterable[Example], path: str | Path, format: str | None = None) -> None:
    """Write texts with their entities and their meta; a file appears whole or not at all, compressed if named so.

    One that is there is replaced in the end, which is logged as a warning.

    JSON Lines and Hugging Face datasets hold all there is, with scores cut to four digits. What else a format
    keeps is in docs/formats.md: CoNLL holds tokens, so the text comes back as tokens joined by blanks.

    Args:
        examples: What to write; may be a generator.
        path: A file, a folder for ``datasets`` and ``brat``, or ``-`` for standard output.
        format: A name of docs/formats.md. By default the suffix tells; standard output is ``jsonl``.

    Raises:
        DataError: If the format is unknown, an example is not valid or cannot be said in that format, or the
            file cannot be written.
        SamnerError: If the format is a folder and it exists already.
    """
    path = user_path(path)
    if not isinstance(examples, Iterable):
        raise SamnerError(f"examples must be a list (or other iterable) of Example, not {examples!r}")
    writer = FORMATS[writing_format(path, format)].write
    assert writer is not None
    if path.is_file():
        log.warning("%s is there and will be replaced", path)
    writer(examples, path)
