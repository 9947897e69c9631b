"""What a user gave, checked before anything slow begins: labels, texts, outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from samner.cli.output import counted, say
from samner.data import read_texts
from samner.data.lines import STANDARD_STREAM
from samner.entities import EntityType, LabelsLike, entity_types
from samner.errors import DataError, SamnerError

_ADAPTED_TEXTS = 500


def labels_given(labels: str | None, file: Path | None) -> tuple[EntityType, ...] | None:
    """The entity types of ``--labels`` or ``--labels-file``; None if neither was given.

    Raises:
        SamnerError: If both were given, the file cannot be read, or a name is blank or given twice.
    """
    if labels is not None and file is not None:
        raise SamnerError("give --labels or --labels-file, not both")
    if labels is not None:
        return entity_types([name.strip() for name in labels.split(",")])
    return None if file is None else _read_labels(file)


def labels_needed(labels: str | None, file: Path | None) -> tuple[EntityType, ...]:
    """Like :func:`labels_given`, but there must be some.

    Raises:
        SamnerError: Also if neither was given.
    """
    types = labels_given(labels, file)
    if types is None:
        raise SamnerError("say what to look for: --labels person,organization or --labels-file FILE")
    return types


def _read_labels(file: Path) -> tuple[EntityType, ...]:
    if file.suffix.lower() not in (".txt", ".json"):
        raise DataError(f"{file}: a file of labels is a .txt or a .json")
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (at byte {error.start + 1}); convert the file to UTF-8 first") from error
    try:
        return entity_types(_from_json(content) if file.suffix.lower() == ".json" else _from_lines(content))
    except SamnerError as error:
        raise DataError(f"{file}: {error}") from error


def _from_lines(content: str) -> list[EntityType]:
    parts = [line.partition(": ") for line in content.splitlines() if line.strip()]
    return [EntityType(name.strip(), description.strip()) for name, _, description in parts]


def _from_json(content: str) -> LabelsLike:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise DataError(f"not valid JSON ({error})") from error
    descriptions = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list) or not all(isinstance(text, str) for text in descriptions):
        raise DataError("must hold a list of names, or an object from name to description")
    labels: LabelsLike = value
    return labels


def check_output_file(path: Path, source: Path | None = None, *, force: bool = False) -> None:
    """Check that a file can be written there later on.

    Raises:
        SamnerError: If its folder is missing, there is something already and it is not to be replaced by ``force``, or
            is no file, or it is what is read.
    """
    _check_parent(path)
    if path.is_dir():
        raise SamnerError(f"{path} is a folder; name a file to write")
    if path.exists() and not path.is_file():
        raise SamnerError(f"{path} is not a plain file; leave out -o to write to standard output")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise SamnerError(f"{path} is what is read; write to another file")
    if path.exists() and not force:
        raise SamnerError(f"{path} exists already; name another file, remove it, or replace it with --force")


def check_output_folder(path: Path) -> None:
    """Check that a folder can be made there later on.

    Raises:
        SamnerError: If its parent is missing or it exists.
    """
    if path.exists():
        raise SamnerError(f"{path} exists already; choose another name or remove it first")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise SamnerError(f"there is no folder {path.parent} to write {path.name} to; make it first")


def texts_of(path: Path, format: str | None) -> list[str]:
    """Read texts, and say how many there are.

    Raises:
        DataError: If they cannot be read.
    """
    texts = read_texts(path, format)
    say(f"read {counted(len(texts), 'text')} from {'standard input' if path == STANDARD_STREAM else path}")
    return texts


def to_adapt_from(texts: Sequence[str]) -> Sequence[str]:
    """At most some hundred of the texts, evenly spread: more do not move a selection, but take long to embed."""
    if len(texts) <= _ADAPTED_TEXTS:
        return texts
    some = [texts[i * len(texts) // _ADAPTED_TEXTS] for i in range(_ADAPTED_TEXTS)]
    say(f"experts are chosen by {len(some)} of the {len(texts)} texts, evenly spread")
    return some
