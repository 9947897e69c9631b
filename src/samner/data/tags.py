"""Entities from tokens and their tags, BIO, BIOES, BILOU, IOB1 or without prefixes; and tokens and tags of entities.

Strict: nothing that a scheme does not allow is repaired, because every repair is a guess at another entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from samner.entities import Entity, Example
from samner.errors import DataError
from samner.words import words

_BEGIN, _CONTINUE, _CLOSE, _SINGLE = "B", "I", "EL", "SU"


def marks_ends(tags: Iterable[str]) -> bool:
    """Whether the tags are of a scheme that marks the last token too (BIOES, BILOU), so that it must be marked."""
    return any(tag.startswith(("E-", "L-", "S-", "U-")) for tag in tags)


def iob1_to_bio(tags: Sequence[str]) -> list[str]:
    """Make IOB1, in which B- only parts neighbours of one type, into BIO, in which every entity begins with B-."""
    bio = []
    for previous, tag in zip(["O", *tags], tags, strict=False):
        starts = tag.startswith("I-") and previous[2:] != tag[2:]
        bio.append("B" + tag[1:] if starts else tag)
    return bio


def io_to_bio(tags: Sequence[str]) -> list[str]:
    """Make labels without prefixes, where a run of one label is one entity, into BIO."""
    return iob1_to_bio([tag if tag == "O" else f"I-{tag}" for tag in tags])


def place(tokens: Sequence[str], text: object) -> tuple[str, list[int]]:
    """A text of the tokens and where each begins in it.

    Args:
        tokens: None of them empty.
        text: The text they were cut from, if it is known: taken if it holds them in order with nothing but blanks
            between. Otherwise the tokens are joined by one blank.
    """
    if isinstance(text, str):
        starts, end = [], 0
        for token in tokens:
            start = text.find(token, end)
            if start < 0 or text[end:start].strip():
                break
            starts.append(start)
            end = start + len(token)
        else:
            if not text[end:].strip():
                return text, starts
    return " ".join(tokens), list(accumulate((len(token) + 1 for token in tokens), initial=0))


def decode(
    tokens: Sequence[str],
    tags: Sequence[str],
    where: Callable[[int], str],
    *,
    ends: bool,
    text: object = None,
    meta: Mapping[str, Any] | None = None,
) -> Example:
    """The text of the tokens with the entities that the tags say.

    Args:
        tokens: None of them empty.
        tags: As many, or none if the tokens are not labelled.
        where: What error messages call the place of the token of that index.
        ends: Whether the scheme marks ends: see :func:`marks_ends`.
        text: As for :func:`place`.
        meta: What else is known of the text.

    Raises:
        DataError: If a tag is unknown, or not allowed after the one before it.
    """
    whole, starts = place(tokens, text)
    entities: list[Entity] = []
    label, first = "", 0  # of the entity that is open; no label: none is

    def close(last: int) -> None:
        nonlocal label
        start, end = starts[first], starts[last] + len(tokens[last])
        entities.append(Entity(start, end, label, text=whole[start:end]))
        label = ""

    def close_before(index: int) -> None:
        if label and ends:
            raise DataError(
                f"{where(index - 1)}: {tags[index - 1]!r} is the last tag of its entity, but in this file E- or L- "
                "ends an entity and S- or U- is one of a single token"
            )
        if label:
            close(index - 1)

    for index, tag in enumerate(tags):
        prefix, tag_label = _split(tag, index, where)
        if prefix in _CONTINUE + _CLOSE:
            if label != tag_label:
                raise DataError(f"{where(index)}: {_no_start(prefix, tag_label, tags[:index], ends)}")
            if prefix in _CLOSE:
                close(index)
        else:
            close_before(index)
            if prefix != "O":
                label, first = tag_label, index
            if prefix in _SINGLE:
                close(index)
    close_before(len(tags))
    return Example(whole, tuple(entities), meta or {})


def encode(example: Example, format: str) -> tuple[list[str], list[tuple[int, int, str]]]:
    """The words of a text, and its entities as first word, last word (inclusive) and label.

    Args:
        example: Of which every entity must begin and end with a word.
        format: What error messages call the format that needs it so.

    Raises:
        DataError: If the text has no word, or an entity cannot be said so.
    """
    spans = words(example.text)
    if not spans:
        raise DataError(f"a text without a word cannot be said in {format}; write jsonl")
    firsts = {start: index for index, (start, _) in enumerate(spans)}
    lasts = {end: index for index, (_, end) in enumerate(spans)}
    found = []
    for entity in example.entities:
        first, last = firsts.get(entity.start), lasts.get(entity.end)
        if first is None or last is None:
            raise DataError(
                f"{named(entity)} does not begin and end with a token, which {format} cannot say; write jsonl"
            )
        found.append((first, last, entity.label))
    return [example.text[start:end] for start, end in spans], found


def encode_bio(example: Example, format: str) -> tuple[list[str], list[str]]:
    """The words of a text and their BIO tags.

    Raises:
        DataError: As :func:`encode` does, and if entities overlap.
    """
    tokens, found = encode(example, format)
    tags = ["O"] * len(tokens)
    for entity, (first, last, label) in zip(example.entities, found, strict=True):
        if any(tag != "O" for tag in tags[first : last + 1]):
            raise DataError(f"{named(entity)} overlaps another, which BIO cannot say; write jsonl")
        tags[first : last + 1] = [f"B-{label}"] + [f"I-{label}"] * (last - first)
    return tokens, tags


def named(entity: Entity) -> str:
    """What error messages call an entity."""
    return f"the entity {entity.start}:{entity.end} {entity.label!r}"


def _split(tag: str, index: int, where: Callable[[int], str]) -> tuple[str, str]:
    if tag == "O":
        return "O", ""
    prefix, hyphen, label = tag.partition("-")
    if not hyphen or len(prefix) != 1 or prefix not in _BEGIN + _CONTINUE + _CLOSE + _SINGLE:
        raise DataError(f"{where(index)}: unknown tag {tag!r}; a tag is O, or B-, I-, E-, S-, L- or U- before a label")
    if not label.strip():
        raise DataError(f"{where(index)}: the tag {tag!r} has no label; a label follows the hyphen, as in B-person")
    return prefix, label.strip()


def _no_start(prefix: str, label: str, before: Sequence[str], ends: bool) -> str:
    previous = f"{before[-1]!r} is before it" if before else "it is the first tag"
    tag, begin = f"{prefix}-{label}", f"B-{label}"
    reason = f"{tag!r} does not continue an entity of that type ({previous}); {begin!r} begins one"
    if not ends:
        reason += ", and a CoNLL file in IOB1, where I- may too, is read with format='iob1'"
    return reason
