"""Texts with their entities marked in colour, as HTML: a piece for a notebook, or a page that needs nothing else.

Texts and entities come in, HTML goes out, in which whatever a text holds is text. May import ``samner.entities`` and
``samner.display``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from samner.display import printable
from samner.entities import Entity, Example

if TYPE_CHECKING:
    from jinja2 import Template

_HUES = 24


def fragment(text: str, entities: Sequence[Entity]) -> str:
    """A text with its entities marked, for a notebook's page, whatever the colours of that.

    Args:
        text: The text.
        entities: In any order; they may overlap.
    """
    return _template("fragment").render(pieces=pieces(text, entities), hues=hues(e.label for e in entities))


def page(examples: Iterable[Example], labels: Sequence[str], title: str) -> Iterator[str]:
    """A whole page of texts, in parts to be written one after the other: no more than one text is held at a time.

    Args:
        examples: The texts with their entities.
        labels: All labels that may occur, in the order in which they are explained.
        title: Of the page.
    """
    texts = (pieces(example.text, example.entities) for example in examples)
    yield from _template("page").generate(texts=texts, hues=hues(labels), title=title)


class Piece(NamedTuple):
    """A part of a text between two places where entities begin or end.

    Args:
        opens: What begins before it, or goes on after it was closed for the sake of another that it crosses.
        text: As it is shown.
        closes: What is closed after it, innermost first, each with whether it ends there.
    """

    opens: tuple[Entity, ...]
    text: str
    closes: tuple[tuple[Entity, bool], ...]


def pieces(text: str, entities: Iterable[Entity]) -> Iterator[Piece]:
    """A text cut so that the elements of its entities lie within one another, as those of HTML have to."""
    waiting = sorted(entities, key=lambda e: (-e.start, e.end, e.label))
    places = sorted({0, len(text), *(place for e in waiting for place in (e.start, e.end))})
    stack: list[Entity] = []
    again: list[Entity] = []
    for start, end in pairwise(places):
        opens = again
        while waiting and waiting[-1].start == start:
            opens.append(waiting.pop())
        stack += opens
        lowest = next((i for i, entity in enumerate(stack) if entity.end == end), len(stack))
        closed = stack[lowest:]
        del stack[lowest:]
        again = [entity for entity in closed if entity.end > end]
        closes = tuple((entity, entity.end == end) for entity in reversed(closed))
        yield Piece(tuple(opens), printable(text[start:end]), closes)


def hues(labels: Iterable[str]) -> dict[str, int]:
    """A colour for each label, in degrees: mostly the same whatever other labels there are."""
    taken: dict[int, str] = {}
    for label in dict.fromkeys(labels):
        wish = crc32(label.encode("utf-8", "replace")) % _HUES
        free = (place % _HUES for place in range(wish, wish + _HUES) if place % _HUES not in taken)
        taken[next(free, len(taken) + _HUES)] = label  # more labels than colours: they come again
    return {label: place % _HUES * (360 // _HUES) for place, label in taken.items()}


def told(entity: Entity) -> str:
    """What is said of an entity where the pointer rests on it."""
    score = f"{entity.label}, score {entity.score:.4f}"
    return f"{score}, found by {', '.join(entity.found_by)}" if entity.found_by else score


@lru_cache(maxsize=2)
def _template(name: str) -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["told"] = told
    return environment.get_template(f"{name}.html.jinja")
