"""Where the strings of an answer stand in the text."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import regex

from samner.backbones.language_model.generation.answer import Mention
from samner.words import borders, characters, words

_UNSEEN = regex.compile(r"[\s\p{Default_Ignorable_Code_Point}]")

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Aligned:
    """A place of a mention in the text.

    Args:
        mention: As the answer has it.
        start: Offset of its first character in the text, in code points.
        end: Offset just past its last.
        how: ``"exact"``, or ``"normalised"`` where case, blanks, invisible characters or composed accents differ.
    """

    mention: Mention
    start: int
    end: int
    how: str


def align(text: str, mentions: Sequence[Mention]) -> tuple[list[Aligned], list[Mention]]:
    """Find mentions in the text they were read from.

    A mention is looked for as it is (without blanks around it), then regardless of case, of blanks, of invisible
    characters and of how accents are composed. Only whole words count; if there are none, the string as it is within
    longer words, unless it is a single character: ``"art"`` is found in ``"party"`` only if the text has no ``"art"``
    or ``"Art"``. A place within the place of a longer mention does not count if there is another: of ``"Bank of
    England"`` and ``"England"``, the second is not the end of the first as long as it stands elsewhere, too. Places of
    one mention do not overlap, and none begins or ends within what a reader sees as one character, for instance
    between a letter and its accent.

    Args:
        text: What was asked about.
        mentions: What was answered.

    Returns:
        The places, mention by mention in the order of the text, no place twice under one label; and the mentions that
        the text does not have.
    """
    searched = _Text(text)
    found = {mention.text: searched.find(mention.text) for mention in mentions}
    places = {place for spans, _ in found.values() for place in spans}
    aligned: dict[tuple[int, int, str], Aligned] = {}
    for mention in mentions:
        spans, how = found[mention.text]
        free = [span for span in spans if not any(_holds(other, span) for other in places)] or spans
        for start, end in free:
            key = (start, end, mention.label)
            if key not in aligned or (aligned[key].how, how) == ("normalised", "exact"):
                aligned[key] = Aligned(mention, start, end, how)
    return list(aligned.values()), [mention for mention in mentions if not found[mention.text][0]]


class _Text:
    """A text to look for strings in."""

    def __init__(self, text: str) -> None:
        self._text = text

    def find(self, string: str) -> tuple[list[Span], str]:
        """The places of a string, and how it was found; no places if it was not."""
        string = string.strip()
        seen = characters(string)
        folded = "".join(map(_fold, seen))
        if not folded:
            return [], ""
        borders = self._borders
        exact = [span for span in _places(self._text, string) if span[0] in borders and span[1] in borders]
        if whole := _apart(filter(self._is_whole, exact)):
            return whole, "exact"
        if whole := _apart(filter(self._is_whole, self._folded_places(folded))):
            return whole, "normalised"
        within = _apart(exact) if len(seen) > 1 else []
        return within, "exact" if within else ""

    def _is_whole(self, span: Span) -> bool:
        return self._within_words.isdisjoint(span)

    def _folded_places(self, folded: str) -> Iterator[Span]:
        text, starts, ends = self._folded
        for start, end in _places(text, folded):
            if start in starts and end in ends:
                yield starts[start], ends[end]

    @cached_property
    def _borders(self) -> Container[int]:
        return borders(self._text)

    @cached_property
    def _within_words(self) -> set[int]:
        return {place for start, end in words(self._text) for place in range(start + 1, end)}

    @cached_property
    def _folded(self) -> tuple[str, dict[int, int], dict[int, int]]:
        """The text folded, and for offsets in it at which characters begin and end, those in the text."""
        starts, ends = {}, {}
        parts, length, end = [], 0, 0
        for seen in characters(self._text):
            start, end = end, end + len(seen)
            if not seen[0].isspace() and (part := _fold(seen)):  # a blank may bear an accent
                starts[length] = start
                length += len(part)
                ends[length] = end
                parts.append(part)
        return "".join(parts), starts, ends


def _fold(character: str) -> str:
    """A character regardless of case and of how it is composed; empty for blanks and what is not seen."""
    seen = _UNSEEN.sub("", character)
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", seen).casefold())


def _places(text: str, string: str) -> Iterator[Span]:
    """Every place of a string, also where they overlap."""
    start = text.find(string)
    while start >= 0:
        yield start, start + len(string)
        start = text.find(string, start + 1)


def _apart(spans: Iterable[Span]) -> list[Span]:
    """From left to right, those that do not overlap one before."""
    kept: list[Span] = []
    for start, end in spans:
        if not kept or kept[-1][1] <= start:
            kept.append((start, end))
    return kept


def _holds(outer: Span, inner: Span) -> bool:
    return outer != inner and outer[0] <= inner[0] and inner[1] <= outer[1]
