"""Entities from tokens and their tags: BIO, BIOES, BILOU and IOB1.

Strict: nothing that a scheme does not allow is repaired, because every repair is a guess at another entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from samner.entities import Entity, Example
from samner.errors import DataError

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


def decode(tokens: Sequence[str], tags: Sequence[str], where: Callable[[int], str], *, ends: bool) -> Example:
    """The text of the tokens, joined by one blank, with the entities that the tags say.

    Args:
        tokens: None of them empty.
        tags: As many, or none if the tokens are not labelled.
        where: What error messages call the place of the token of that index.
        ends: Whether the scheme marks ends: see :func:`marks_ends`.

    Raises:
        DataError: If a tag is unknown, or not allowed after the one before it.
    """
    starts = list(accumulate((len(token) + 1 for token in tokens), initial=0))
    entities: list[Entity] = []
    label, first = "", 0  # of the entity that is open; no label: none is

    def close(last: int) -> None:
        nonlocal label
        entities.append(Entity(starts[first], starts[last] + len(tokens[last]), label))
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
    return Example(" ".join(tokens), tuple(entities))


def _split(tag: str, index: int, where: Callable[[int], str]) -> tuple[str, str]:
    if tag == "O":
        return "O", ""
    prefix, hyphen, label = tag.partition("-")
    if not hyphen or len(prefix) != 1 or prefix not in _BEGIN + _CONTINUE + _CLOSE + _SINGLE:
        raise DataError(f"{where(index)}: unknown tag {tag!r}; a tag is O, or B-, I-, E-, S-, L- or U- before a label")
    if not label.strip():
        raise DataError(f"{where(index)}: the tag {tag!r} has no label; a label follows the hyphen, as in B-person")
    return prefix, label


def _no_start(prefix: str, label: str, before: Sequence[str], ends: bool) -> str:
    previous = f"{before[-1]!r} is before it" if before else "it is the first tag"
    tag, begin = f"{prefix}-{label}", f"B-{label}"
    reason = f"{tag!r} does not continue an entity of that type ({previous}); {begin!r} begins one"
    if not ends:
        reason += ", and a CoNLL file in IOB1, where I- may too, is read with format='iob1'"
    return reason
