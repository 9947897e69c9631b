"""Texts as the data sets have them: one line, single blanks, entities in plain words; and spans found by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from samner.data import tags
from samner.entities import Entity, Example

Span: TypeAlias = tuple[int, int, str]
"""First character, the one after the last, and the source's type."""

Label: TypeAlias = Callable[[str], "str | None"]
"""The label of a source's type; None leaves it out."""


def words(name: str) -> str:
    """A source's type in plain lower-case words: ``"OtherScientificTerm"`` is ``"other scientific term"``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.sub(r"[\s_\-./|]+", " ", name).strip().lower()


def tidy(text: str, spans: Iterable[Span], label: Label, invisible: str = " ") -> Example:
    """The text in one line with single blanks, and its spans there; each once, in order.

    Args:
        text: As the source has it.
        spans: Over that text; those that reach beyond it or cover only blanks are left out.
        label: Names them.
        invisible: What characters without a shape (controls, joiners, private use) become: a blank or nothing.
    """
    text = "".join(" " if c.isspace() else c if c.isprintable() else invisible or "\0" for c in text)
    kept: list[str] = []
    at = []  # where each character stands in the tidy text
    for character in text:
        at.append(len(kept))
        if character != "\0" and (character != " " or (kept and kept[-1] != " ")):
            kept.append(character)
    line = "".join(kept).rstrip()
    entities = set()
    for start, end, type_ in spans:
        if end > len(text) or (name := label(type_)) is None:
            continue
        while start < end and text[start] in " \0":
            start += 1
        while end > start and text[end - 1] in " \0":
            end -= 1
        if start < end:
            entities.add((at[start], at[end - 1] + 1, name))
    return example(line, entities)


def example(text: str, entities: Iterable[Span]) -> Example:
    """The text with its entities in order."""
    return Example(text, tuple(Entity(s, e, label, text=text[s:e]) for s, e, label in sorted(entities)))


def renamed(row: Example, label: Label) -> Example:
    """The text as it is, its entities by their labels."""
    named = ((e.start, e.end, label(e.label)) for e in row.entities)
    return example(row.text, {(start, end, name) for start, end, name in named if name is not None})


def tagged(tokens: Sequence[str], types: Sequence[str], label: Label) -> Example:
    """The tokens joined by blanks, with the entities of tags in BIO, or in IOB1.

    Args:
        tokens: None of them empty.
        types: Their tags.
        label: Names the types.
    """
    read = tags.decode(tokens, tags.iob1_to_bio(types), lambda index: f"token {index + 1}", ends=False)
    return tidy(read.text, (entity.key for entity in read.entities), label, invisible="")


def covered(tokens: Sequence[str], spans: Iterable[Span], label: Label) -> Example:
    """The tokens joined by blanks, with entities of the first and past the last token; they may overlap."""
    text, starts = tags.place(tokens, None)
    return tidy(text, ((starts[s], starts[e - 1] + len(tokens[e - 1]), t) for s, e, t in spans), label, invisible="")


def merged(examples: Iterable[Example]) -> Example:
    """Layers of one text in one."""
    layers = list(examples)
    return example(layers[0].text, {entity.key for layer in layers for entity in layer.entities})


def find(text: str, value: str, *, every: bool = False) -> list[tuple[int, int]]:
    """Where a value stands in a text as whole words, whatever its case; a blank and a hyphen are alike."""
    pattern = r"[\s\-]+".join(map(re.escape, re.split(r"[\s\-]+", value.strip())))
    hits = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.I)] if pattern else []
    return hits if every else hits[:1]


def apart(spans: Iterable[Span]) -> list[Span]:
    """The spans without those that overlap a longer one."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span)):
        if all(span[1] <= other[0] or span[0] >= other[1] for other in kept):
            kept.append(span)
    return kept


def bracketed(text: str, pattern: str) -> tuple[str, list[Span]]:
    """A text without its marks, and the spans they marked.

    Args:
        text: With marks in it.
        pattern: Of a mark, with the groups ``type`` and ``text``; what matches without a type is kept as text.
    """
    plain, spans, last = "", [], 0
    for mark in re.finditer(pattern, text):
        plain += text[last : mark.start()]
        spans.append((len(plain), len(plain) + len(mark["text"]), mark["type"]))
        plain += mark["text"]
        last = mark.end()
    return plain + text[last:], spans


_SENTENCE = re.compile(r"\n+|(?<=[.!?])\s+(?=[A-Z(\[\"'])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|al|Fig|Figs|vs|ca|approx|No|Dr|St|Inc|Co|Ltd|Corp|ver|v)|\b[A-Z])\.$")


def chunks(text: str, spans: Sequence[Span], limit: int) -> Iterator[tuple[str, list[Span]]]:
    """A long text in pieces of about so many words, cut between sentences and never within a span."""
    cuts, start = [0], 0
    for gap in _SENTENCE.finditer(text):
        if any(first < gap.end() and gap.start() < end for first, end, _ in spans):
            continue
        new_line = "\n" in gap[0]
        if not new_line and _ABBREVIATION.search(text[start : gap.start()]):
            continue
        here, ahead = text[cuts[-1] : gap.end()], text[cuts[-1] : gap.end() + 200]
        if new_line or len(here.split()) >= limit or len(ahead.split()) > limit:
            cuts.append(gap.end())
        start = gap.end()
    for first, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        if text[first:end].strip():
            yield text[first:end], [(s - first, e - first, t) for s, e, t in spans if first <= s and e <= end]


def without_edges(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """The spans without punctuation at their edges; a closing bracket stays if it opens inside."""
    for start, end, type_ in spans:
        while start < end and text[start] in " ,;:([\"'":
            start += 1
        while end > start and text[end - 1] in " ,;:)]\"'":
            opening = {")": "(", "]": "["}.get(text[end - 1])
            if opening and opening in text[start:end]:
                break
            end -= 1
        if end > start:
            yield start, end, type_


_ENDS_IN_STOP = re.compile(r"(?:\b(?:Co|Ltd|Pvt|Inc|Corp|Anr|Ors|Another|No|Dr|Mr|Mrs|Jr|Sr|St)\.|(?:\b[A-Za-z]\.)+)$")
_STILL_ENDS_IN_STOP = re.compile(r"(?:\b(?:Co|Ltd|Pvt|Inc|Corp|Anr|Ors|No)\.|(?:\b[A-Za-z]\.)+)$")


def trimmed(row: Example) -> Example:
    """The text with punctuation cut from the edges of its entities, for sources that tag words split at blanks."""
    return example(row.text, {span for e in row.entities if (span := _trim(row.text, *e.key))[0] < span[1]})


def _trim(text: str, start: int, end: int, label: str) -> Span:
    while end > start and text[start] in " ,;:":
        start += 1
    stop = _ENDS_IN_STOP.search(text[start:end])
    while end > start and text[end - 1] in " ,.;:" and not (stop and text[end - 1] == "."):
        end -= 1
        stop = _STILL_ENDS_IN_STOP.search(text[start:end])
    for opening, closing in ("()", "[]"):
        span = text[start:end]
        start += span.startswith(opening) and closing not in span
        end -= span.endswith(closing) and opening not in span
    span = text[start:end]
    start += span[:1] in tuple("\"'“") and span[0] not in span[1:]
    end -= end > start and text[end - 1] in '"”' and text[start:end].count(text[end - 1]) == 1
    while end > start and text[start] == " ":
        start += 1
    while end > start and text[end - 1] in " ,.;:" and not (stop and text[end - 1] == "."):
        end -= 1
    return start, end, label
