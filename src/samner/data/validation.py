"""What makes a text and its entities valid, whatever the format; and entities as plain objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from reprlib import repr as short
from typing import Any

from samner.entities import Entity, Example
from samner.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")


@contextmanager
def located(place: str) -> Iterator[None]:
    """Put ``place: `` before the message of a DataError raised inside."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from error.__cause__


def check_example(example: Example) -> None:
    """Check that the text is text, and that every entity lies in it, has a label and occurs once.

    Raises:
        DataError: If not.
    """
    _check_text(example.text)
    seen: set[tuple[int, int, str]] = set()
    for index, entity in enumerate(example.entities):
        with located(f"entities[{index}]"):
            _check_entity(entity, example.text)
            if entity.key in seen:
                raise DataError(f"repeats the entity {entity.start}:{entity.end} {short(entity.label)}; keep one")
            seen.add(entity.key)


def to_fields(entity: Entity, text: str) -> dict[str, Any]:
    """The entity as an object with all its fields and the text it covers; ``aligned`` only where there is one."""
    fields = {
        "start": entity.start,
        "end": entity.end,
        "label": entity.label,
        "text": text[entity.start : entity.end],
        "score": round(float(entity.score), 4),
        "found_by": list(entity.found_by),
    }
    return fields | {"aligned": entity.aligned} if entity.aligned else fields


def example_from_fields(text: object, entities: object) -> Example:
    """The example of a text and a list of objects as :func:`to_fields` makes, or of a text alone.

    Only start, end and label are needed. What is optional may be None, because columns of Arrow fill gaps so.

    Raises:
        DataError: If anything about it is not valid.
    """
    text = _check_text(text)
    if entities is None:
        return Example(text)
    if not isinstance(entities, list):
        raise DataError(f"entities must be a list, not {short(entities)}; leave it out where a text is not labelled")
    found = []
    for index, fields in enumerate(entities):
        with located(f"entities[{index}]"):
            found.append(_from_fields(fields))
    example = Example(text, tuple(found))
    check_example(example)
    for index, (fields, entity) in enumerate(zip(entities, found, strict=True)):
        given, covered = fields.get("text"), text[entity.start : entity.end]
        if given is not None and given != covered:
            raise DataError(
                f"entities[{index}]: its text is {short(given)} but characters {entity.start}:{entity.end} are "
                f"{short(covered)}; offsets count characters (not bytes) from 0, end exclusive"
            )
    return example


def _from_fields(fields: object) -> Entity:
    if not isinstance(fields, Mapping):
        raise DataError(f'must be an object like {{"start": 0, "end": 5, "label": "person"}}, not {short(fields)}')
    for key in ("start", "end", "label"):
        if key not in fields:
            raise DataError(f'"{key}" is missing; start, end and label are needed')
    score = 1.0 if fields.get("score") is None else fields["score"]
    found_by = [] if fields.get("found_by") is None else fields["found_by"]
    if not isinstance(found_by, list) or not all(isinstance(name, str) for name in found_by):
        raise DataError(f"found_by must be a list of strings, not {short(found_by)}")
    aligned = fields.get("aligned") or ""
    if not isinstance(aligned, str):
        raise DataError(f"aligned must be a string, not {short(aligned)}")
    return Entity(fields["start"], fields["end"], fields["label"], score, tuple(found_by), aligned)


def _check_text(text: object) -> str:
    if not isinstance(text, str):
        raise DataError(f"the text must be a string, not {short(text)}")
    if _SURROGATE.search(text):
        raise DataError("the text holds half of a surrogate pair; give the whole pair")
    return text


def _check_entity(entity: Entity, text: str) -> None:
    start, end = _integer("start", entity.start), _integer("end", entity.end)
    if end <= start:
        raise DataError(f"end {end} is not after start {start}; end is exclusive")
    if start < 0 or end > len(text):
        raise DataError(
            f"{start}:{end} lies outside the text of {len(text)} characters; offsets count characters (not bytes) "
            "from 0, end exclusive"
        )
    _check_label(entity.label)
    _check_score(entity.score)


def _integer(name: str, value: object) -> int:
    # bool is a subclass of int, but true is no offset
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{name} must be an integer, not {short(value)}")
    return value


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"label must be a string that is not blank, not {short(label)}")
    if _SURROGATE.search(label):
        raise DataError(f"the label {short(label)} holds half of a surrogate pair; give the whole pair")


def _check_score(score: object) -> None:
    if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
        raise DataError(f"score must be a number from 0 to 1, not {short(score)}")
