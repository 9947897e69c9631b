"""JSON: an object a line (JSON Lines), an array of objects or strings, or an object that holds such an array.

samner's own objects are ``{"text": str, "entities": [{"start": int, "end": int, "label": str}]}``, ``end`` exclusive.
``entities`` may be absent; an entity may carry the ``text`` it covers, which then has to agree, and a predicted one
carries ``score`` and ``found_by``. Other keys are the text's meta. Objects of other tools are told by their keys.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from reprlib import repr as short

from samner.data.formats import doccano, label_studio, lighttag, prodigy, spacy, tokens
from samner.data.formats.base import Dialect, Format, Record, refuse_unknown_labels, rest
from samner.data.lines import Source, write_text
from samner.data.validation import example_from_fields, located, to_record
from samner.entities import Example
from samner.errors import DataError

log = logging.getLogger(__name__)

SUFFIXES = (".jsonl", ".json", ".ndjson")
_ARRAY = re.compile(r'\s*\[\s*(?:[\]{"]|\[\s*["\[{])')
_BEGINS = re.compile(rf"""{_ARRAY.pattern}|\s*\{{\s*(?:["'}}]|$|\w+\s*:)""")
_MUST = 'must be one object like {"text": "...", "entities": []}'
_PLAIN = "to read it as plain text give the format text (--format text)"
_HOLDERS = ("data", "texts", "examples", "documents", "items", "records", "rows", "sentences")


def _samner(record: Record) -> bool:
    return "text" in record and "entities" in record


def _read_samner(record: Record, labelled: bool) -> Example:
    return example_from_fields(record["text"], record["entities"] if labelled else None, rest(record))


DIALECTS = {
    "label-studio": label_studio.TASKS,
    "label-studio-predictions": label_studio.PREDICTIONS,
    "gliner": tokens.GLINER,
    "doccano": doccano.DIALECT,
    "samner": Dialect(_samner, _read_samner, to_record),
    "prodigy": prodigy.DIALECT,
    "spacy-json": spacy.DIALECT,
    "label-studio-min": label_studio.MIN,
    "lighttag": lighttag.DIALECT,
    "tokens": tokens.TAGGED,
}
"""In the order in which they are tried."""


def format_of(name: str, suffixes: tuple[str, ...] = ()) -> Format:
    """JSON of one dialect; of "samner" all are read."""
    dialect = DIALECTS[name]
    reader = partial(read, only=None if name == "samner" else name)
    writer = None if dialect.write is None else partial(_write, dialect)
    keeps = ("entities", "ids", "meta") if dialect.ids else ("entities", "meta")
    return Format(reader, writer, suffixes, looks if name == "samner" else None, keeps)


def looks(source: Source) -> bool:
    """Whether it begins as JSON does; a plain text that begins with a bracket does not."""
    head = source.text_head()
    if source.suffix in SUFFIXES:
        return True
    if source.suffix in (".txt", ".md"):  # to be sure: such a file is plain text as a rule
        return bool(_BEGINS.match(head)) and _parses(head.strip().split("\n")[0])
    return bool(_BEGINS.match(head))


def read(source: Source, labelled: bool, column: str | None, only: str | None = None) -> Iterator[Example]:
    """Read the examples of a file.

    Args:
        source: The file.
        labelled: Whether labels are wanted.
        column: The key of the text, if it is not one that is known.
        only: The dialect that all objects must be of; any if None.
    """
    return examples(_records(source), labelled, column, only, source.noting)


def examples(
    records: Iterable[tuple[str, object]],
    labelled: bool,
    column: str | None,
    only: str | None = None,
    noting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Example]:
    """The examples of objects and their places; a string is a text.

    Args:
        records: Places and objects.
        labelled: Whether labels are wanted.
        column: The key of the text, if it is not one that is known.
        only: The dialect that all objects must be of; any if None.
        noting: Is around what may be wrong with one object: :meth:`Source.noting`.
    """
    remaining = iter(records)
    for place, value in remaining:
        if isinstance(value, str):
            text = None
            with noting(), located(place):
                text = example_from_fields(value, None)
            if text is not None:
                yield text
            continue
        example = None
        tagged: list[tuple[str, Record]] = []
        with noting(), located(place):
            record = _record(value, column)
            name = only or next((name for name, dialect in DIALECTS.items() if dialect.matches(record)), None)
            if only and not DIALECTS[only].matches(record):
                raise DataError(f"is no object of {only}; it holds {', '.join(record) or 'nothing'}")
            if labelled and name == "tokens":
                tagged = [(place, record)]
            else:
                example = DIALECTS[name].read(record, labelled) if name else _unlabelled(record, labelled)
        if tagged:
            others = ((where, _record(other, column)) for where, other in remaining)
            yield from tokens.examples(chain(tagged, others), noting)
            return
        if example is not None:
            yield example


def _record(value: object, column: str | None) -> Record:
    """The object, its text under "text"."""
    match value:
        case [str(text), dict(labels)]:  # as spaCy 2 was trained
            value = {"text": text, **labels}
    if not isinstance(value, Mapping):
        raise DataError(f"{_MUST}, not {short(value)}")
    if column is not None:
        if column not in value:
            raise DataError(f"has no {column!r}; it holds {', '.join(map(str, value)) or 'nothing'}")
        return {"text": value[column], **{key: other for key, other in value.items() if key not in (column, "text")}}
    return value


def _unlabelled(record: Record, labelled: bool) -> Example:
    if "text" not in record:
        keys = f"; it holds {', '.join(record)}: name the key of the text as in --format jsonl:KEY" if record else ""
        raise DataError(f'"text" is missing; each object needs it{keys}')
    if labelled:
        refuse_unknown_labels(record)
    return example_from_fields(record["text"], None, rest(record))


def _records(source: Source) -> Iterator[tuple[str, object]]:
    head = source.text_head().lstrip()
    first = head.split("\n", 1)[0].rstrip()
    whole = _ARRAY.match(head) and not _is_pair(first)
    if whole or (first.endswith(("{", "[", ",", ":")) and not _parses(first)) or _is_string(source, first):
        return _of_document(source)
    return _of_lines(source)


def _is_pair(line: str) -> bool:
    """Whether a line is a text and its labels, one of several."""
    if not line.startswith("[") or not _parses(line):
        return False
    match json.loads(line):
        case [str(), dict()]:
            return True
    return False


def _is_string(source: Source, line: str) -> bool:
    return source.suffix == ".json" and line.startswith('"') and _parses(line)


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _of_lines(source: Source) -> Iterator[tuple[str, object]]:
    blank = skipped = 0
    for number, line in source.lines():
        if not line.strip():
            blank += 1
            continue
        skipped, blank = skipped + blank, 0
        place = f"{source.name}:{number}"
        held: list[tuple[str, object]] = []
        with source.noting(), located(place):
            held = list(_held(_parsed(line), place, source))
        yield from held
    if skipped:
        log.warning("%s: %d blank lines were left out; the others have moved up", source.name, skipped)


def _parsed(line: str) -> object:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON (column {error.colno}: {error.msg}); each line must hold one object; {_PLAIN}"
        ) from error
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or thousands of nested brackets
        raise DataError(f"not usable JSON ({error}); each line must hold one object") from error
    if isinstance(value, str):
        raise DataError(f"{_MUST}, not {short(value)}; {_PLAIN}")
    return value


def _of_document(source: Source) -> Iterator[tuple[str, object]]:
    text, decoder, place = source.text(), json.JSONDecoder(), 0
    line, counted = 1, 0

    def skip(pattern: str, place: int) -> int:
        found = re.compile(pattern).match(text, place)
        return found.end() if found else place

    def value_at(place: int) -> tuple[object, int, str]:
        nonlocal line, counted
        line, counted = line + text.count("\n", counted, place), place
        try:
            return *decoder.raw_decode(text, place), f"{source.name}:{line}"
        except json.JSONDecodeError as error:
            what = "a JSON array" if text.lstrip().startswith("[") else "JSON"
            raise DataError(
                f"{source.name}:{error.lineno}: not valid JSON (column {error.colno}: {error.msg}), though the file "
                f"begins like {what}; {_PLAIN}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{source.name}:{line}: not usable JSON ({error})") from error

    place = skip(r"\s*", 0)
    if not text.startswith("[", place):
        while place < len(text):
            value, place, where = value_at(place)
            yield from _held_at(value, where, source)
            place = skip(r"\s*", place)
        return
    place = skip(r"\s*", place + 1)
    while not text.startswith("]", place):
        value, place, where = value_at(place)
        yield from _held_at(value, where, source)
        place = skip(r"\s*", place)
        if text.startswith(",", place):
            place = skip(r"\s*", place + 1)
        elif not text.startswith("]", place):
            line += text.count("\n", counted, place)
            raise DataError(f"{source.name}:{line}: a JSON array is not closed or has no comma here; {_PLAIN}")
    if text[place + 1 :].strip():
        line += text.count("\n", counted, place)
        raise DataError(f"{source.name}:{line}: the JSON array is closed here, but more follows; {_PLAIN}")


def _held_at(value: object, place: str, source: Source) -> list[tuple[str, object]]:
    held: list[tuple[str, object]] = []
    with source.noting(), located(place):
        held = list(_held(value, place, source))
    return held


def _held(value: object, place: str, source: Source) -> Iterator[tuple[str, object]]:
    """The objects that an object holds: those of an array in it, of a document of spaCy 2, or from id to text."""
    if not isinstance(value, dict) or "text" in value:
        yield place, value
        return
    if isinstance(value.get("paragraphs"), list):
        yield from ((place, item) for item in spacy.paragraphs(value))
        return
    key = next((key for key in _HOLDERS if isinstance(value.get(key), list) and _all_records(value[key])), None)
    if key is not None:
        yield from ((f"{place}: {key}[{index}]", item) for index, item in enumerate(value[key]))
    elif source.suffix == ".json" and value and all(isinstance(text, str) and " " in text for text in value.values()):
        yield from ((place, {"id": name, "text": text}) for name, text in value.items())
    else:
        yield place, value


def _all_records(value: list[object]) -> bool:
    return all(isinstance(item, dict) for item in value) or all(isinstance(item, str) for item in value)


def _write(dialect: Dialect, examples: Iterable[Example], path: Path) -> None:
    def encode(example: Example) -> str:
        assert dialect.write is not None
        try:
            return json.dumps(dialect.write(example), ensure_ascii=False) + ("" if dialect.array else "\n")
        except (TypeError, ValueError) as error:
            raise DataError(f"meta holds what JSON has no word for ({error})") from error

    around = {"first": "[\n", "between": ",\n", "last": "\n]\n"} if dialect.array else {}
    write_text(examples, path, encode, **around)
