"""BRAT's standoff annotation: documents as ``.txt``, their entities in the ``T`` rows of the ``.ann`` beside them.

A document is one text, whose id is the file's name without suffix. Rows of relations, events, attributes and notes are
left out.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path

from samner.data.formats.base import Format
from samner.data.lines import Source
from samner.data.validation import check_example, example_from_fields, located
from samner.entities import Entity, Example
from samner.errors import DataError
from samner.files import atomic_folder, inside


def looks(source: Source) -> bool:
    """Whether it is an ``.ann``, a ``.txt`` beside one, or a folder that holds some."""
    if source.is_folder:
        return True  # one that is no saved dataset
    return source.suffix == ".ann" or (source.suffix == ".txt" and source.path.with_suffix(".ann").is_file())


def read(source: Source, labelled: bool, column: str | None) -> Iterator[Example]:
    """Read a document, or all of a folder and the folders in it, in the order of their names."""
    if not source.is_folder:
        yield _document(source.path.with_suffix(".ann"), source.path.stem, labelled)
        return
    for path in sorted(source.path.rglob("*.ann")):
        yield _document(path, path.relative_to(source.path).with_suffix("").as_posix(), labelled)


def write(examples: Iterable[Example], path: Path) -> None:
    """Write a folder of documents, named by their ids, or else by their numbers."""
    try:
        with atomic_folder(path) as folder:
            seen: set[str] = set()
            for number, example in enumerate(examples, start=1):
                with located(f"{path}: example {number}"):
                    check_example(example)
                    name = f"{number:06d}" if example.id is None else str(example.id)
                    target = inside(folder, f"{name}.txt")
                    if name in seen or not re.search(r"[^./\\]", name):
                        raise DataError(f"the id {name!r} cannot name a document; each needs a name of its own")
                    seen.add(name)
                    names = _names(example.entities)
                    rows = [_row(*pair, example.text) for pair in zip(names, example.entities, strict=True)]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(example.text.encode("utf-8"))
                target.with_name(f"{target.name[:-4]}.ann").write_bytes("".join(rows).encode("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _names(entities: Sequence[Entity]) -> list[str]:
    """What BRAT calls entities: by their ids where these are of its kind and each its own, else by numbers."""
    ids = Counter(entity.id for entity in entities)
    own = [str(e.id) if ids[e.id] == 1 and re.fullmatch(r"T\d+", str(e.id)) else None for e in entities]
    free = (name for number in count(1) if (name := f"T{number}") not in own)
    return [next(free) if name is None else name for name in own]


def _row(name: str, entity: Entity, text: str) -> str:
    if re.search(r"\s", entity.label):
        raise DataError(f"the label {entity.label!r} has a blank in it, which BRAT cannot say; write jsonl")
    covered = re.sub(r"\s", " ", text[entity.start : entity.end])
    return f"{name}\t{entity.label} {entity.start} {entity.end}\t{covered}\n"


def _document(path: Path, name: str, labelled: bool) -> Example:
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        raise DataError(f"{text_path}: no such file; {path.name} tells of its text")
    with closing(Source(text_path)) as source:
        raw, marked = source.text(), source.head.startswith(codecs.BOM_UTF8)
    if not labelled:
        return Example(raw, meta={"id": name})
    with closing(Source(path)) as source:
        rows = [(f"{path}:{number}", line) for number, line in source.lines() if re.match(r"T\d", line)]
    spans, name_of = [], {}
    for place, row in rows:
        name_of[place] = row.split()[0]
        with located(place):
            spans.append((place, *_span(row, raw)))
    text = next((text for text in _texts(raw, marked) if all(_agrees(text, *span[1:]) for span in spans)), raw)
    found = []
    for place, start, end, label, covered in spans:
        with located(place):
            if not _agrees(text, start, end, label, covered):
                raise DataError(
                    f"its text is {covered!r} but characters {start}:{end} of {text_path.name} are "
                    f"{text[start:end][:80]!r}; offsets count characters of the file, line ends included"
                )
            found.append({"start": start, "end": end, "label": label, "id": name_of[place]})
    with located(str(path)):
        return example_from_fields(text, found, {"id": name}, "T rows")


def _texts(raw: str, marked: bool) -> Iterator[str]:
    """The text as offsets may count it: as it is, with its byte order mark, with line ends of one character."""
    yield raw
    if marked:
        yield "\ufeff" + raw
    if "\r\n" in raw:
        yield raw.replace("\r\n", "\n")


def _agrees(text: str, start: int, end: int, label: str, covered: str) -> bool:
    return end <= len(text) and (not covered or text[start:end].split() == covered.split())


def _span(row: str, text: str) -> tuple[int, int, str, str]:
    """Start, end, label and covered text of a T row."""
    _, _, content = row.partition("\t")
    told, _, covered = content.partition("\t")
    if not (found := re.fullmatch(r"(\S+) (\d+ \d+(?:;\d+ \d+)*)", told.strip())):
        raise DataError(f"must be like 'T1<tab>city 10 14<tab>Rome', not {row!r}")
    pieces = [tuple(map(int, piece.split())) for piece in found[2].split(";")]
    for (_, end), (start, _) in pairwise(pieces):
        if text[end:start].strip():  # only a line break parts what is whole
            raise DataError(
                f"the {found[1]} is in several pieces ({found[2]}), between which other text stands; make it one span "
                "or several"
            )
    return pieces[0][0], pieces[-1][1], found[1], covered


FORMAT = Format(read, write, (), looks, keeps=("entities", "ids", "id"))
