"""What makes a text and its entities valid, whatever the format; and entities as plain objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from reprlib import repr as short
from typing import Any

from samner.entities import Entity, Example, to_fields
from samner.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")
# How other tools call the parts of a span.
_START = ("start", "start_offset", "start_char", "begin")
_END = ("end", "end_offset", "end_char")
_LABEL = ("label", "labels", "tag", "type", "entity_type", "entity_group")


@contextmanager
def located(place: str) -> Iterator[None]:
    """Put ``place: `` before the message of a DataError raised inside."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from error.__cause__


def check_example(example: Example) -> None:
    """Check that the text is text, that every entity lies in it, has a label and occurs once, and that meta is named.

    Raises:
        DataError: If not.
    """
    if not isinstance(example, Example):
        raise DataError(f"must be a samner.Example, not {short(example)}")
    _check_text(example.text)
    _check_meta(example.meta)
    seen: set[tuple[int, int, str]] = set()
    for index, entity in enumerate(example.entities):
        with located(f"entities[{index}]"):
            _check_entity(entity, example.text)
            if entity.key in seen:
                raise DataError(f"repeats the entity {entity.start}:{entity.end} {short(entity.label)}; keep one")
            seen.add(entity.key)


def declines(meta: Mapping[str, Any]) -> str:
    """Why the labels of a text are not to be counted, as its record itself says; empty if they are.

    Prodigy says ``"answer": "reject"`` or ``"ignore"``, doccano ``"is_approved": false``, Label Studio cancels.
    """
    said = {
        key: str(meta.get(key)).lower() for key in ("answer", "is_approved", "was_cancelled")
    }  # as CSV has it, too
    if said["answer"] in ("reject", "ignore"):
        return f"answer is {said['answer']}"
    if said["is_approved"] == "false":
        return "is_approved is false"
    return "was_cancelled is true" if said["was_cancelled"] == "true" else ""


def id_of(entity: Entity) -> dict[str, str | int]:
    """The entry of an entity's object for its id, if it has one."""
    return {} if entity.id is None else {"id": entity.id}


def to_record(example: Example) -> dict[str, Any]:
    """The example as an object of samner's JSON Lines; gold without score and names of models."""
    entities = [to_fields(entity, example.text) for entity in example.entities]
    for entity, fields in zip(example.entities, entities, strict=True):
        if not entity.found_by and entity.score == 1:
            del fields["score"], fields["found_by"]
    return {"text": example.text, "entities": entities, **example.meta}


def example_from_fields(
    text: object, entities: object, meta: Mapping[str, Any] | None = None, key: str = "entities"
) -> Example:
    """The example of a text and a list of spans in samner's or any other tool's words, or of a text alone.

    A span is an object of start, end and label (or ``start_offset``, ``begin``, ``tag``, ``labels``, ...) or a list
    ``[start, end, label]``. What is optional may be None, because columns of Arrow fill gaps so.

    Args:
        text: The text.
        entities: Its spans; None if it is not labelled.
        meta: What else is known of it.
        key: What error messages call the spans.

    Raises:
        DataError: If anything about it is not valid.
    """
    text = _check_text(text)
    if entities is None:
        _check_meta(meta or {})
        return Example(text, meta=meta or {})
    if not isinstance(entities, list):
        raise DataError(f"{key} must be a list, not {short(entities)}; leave it out where a text is not labelled")
    found, covers = [], []
    for index, span in enumerate(entities):
        with located(f"{key}[{index}]"):
            for fields in _spans(span):
                found.append(_from_fields(fields))
                covers.append((index, fields.get("text")))
    example = Example(text, tuple(found), meta or {})
    with _called(key):
        check_example(example)
    for (index, given), entity in zip(covers, found, strict=True):
        covered = text[entity.start : entity.end]
        if given is not None and given != covered:
            raise DataError(
                f"{key}[{index}]: its text is {short(given)} but characters {entity.start}:{entity.end} are "
                f"{short(covered)}; offsets count characters (not bytes) from 0, end exclusive"
            )
    return replace(example, entities=tuple(replace(e, text=text[e.start : e.end]) for e in example.entities))


@contextmanager
def _called(key: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(re.sub(r"^entities\[", lambda _: f"{key}[", str(error))) from error.__cause__


def _spans(span: object) -> Iterator[dict[str, Any]]:
    """The span in samner's words, once for each of its labels."""
    if isinstance(span, Sequence) and not isinstance(span, str):
        if len(span) != 3:
            raise DataError(f"must be [start, end, label], not {short(span)}")
        start, end, label = span
        yield {"start": start, "end": end, "label": label}
        return
    if not isinstance(span, Mapping):
        raise DataError(f'must be an object like {{"start": 0, "end": 5, "label": "person"}}, not {short(span)}')
    fields = dict(span)
    for name, others in {"start": _START, "end": _END, "label": _LABEL}.items():
        if name not in fields:
            other = next((other for other in others if other in fields), None)
            if other is None:
                raise DataError(f'"{name}" is missing; start, end and label are needed')
            fields[name] = fields[other]
    if "text" not in span and isinstance(span.get("value"), str):
        fields["text"] = span["value"]
    several = fields["label"] if "label" not in span and isinstance(fields["label"], list) else [fields["label"]]
    for label in several:
        yield fields | {"label": label}


def _from_fields(fields: Mapping[str, Any]) -> Entity:
    score = 1.0 if fields.get("score") is None else fields["score"]
    found_by = [] if fields.get("found_by") is None else fields["found_by"]
    if not isinstance(found_by, list) or not all(isinstance(name, str) for name in found_by):
        raise DataError(f"found_by must be a list of strings, not {short(found_by)}")
    aligned = fields.get("aligned") or ""
    if not isinstance(aligned, str):
        raise DataError(f"aligned must be a string, not {short(aligned)}")
    called = fields.get("id")
    called = called if type(called) in (str, int) and called != "" else None
    return Entity(fields["start"], fields["end"], fields["label"], score, tuple(found_by), aligned, id=called)


def _check_text(text: object) -> str:
    if not isinstance(text, str):
        raise DataError(f"the text must be a string, not {short(text)}")
    if _SURROGATE.search(text):
        raise DataError("the text holds half of a surrogate pair; give the whole pair")
    return text


def _check_meta(meta: Mapping[str, Any]) -> None:
    for key, value in meta.items():
        if key in ("text", "entities"):
            raise DataError(f"meta cannot have the key {key!r}, which is the example's own")
        try:
            written = json.dumps([key, value], ensure_ascii=False, default=str, allow_nan=False)
        except ValueError as error:
            raise DataError(f"{short(key)} holds NaN or an infinity, for which JSON has no word; use null") from error
        if _SURROGATE.search(written):
            raise DataError(f"{short(key)} holds half of a surrogate pair; give the whole pair")


def _check_entity(entity: Entity, text: str) -> None:
    if not isinstance(entity, Entity):
        raise DataError(f"must be a samner.Entity, not {short(entity)}")
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
