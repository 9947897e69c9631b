"""Long texts as overlapping windows that a model can read whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Word(NamedTuple):
    """A word of a text: its span in characters (end exclusive) and how many of a model's tokens it takes."""

    start: int
    end: int
    cost: int


class Window(NamedTuple):
    """Words ``first`` to ``last`` (exclusive) of a text, and the span of characters they cover."""

    first: int
    last: int
    start: int
    end: int


def windows(words: Sequence[Word], size: int, overlap: int) -> list[Window]:
    """Cover all words with windows of at most ``size`` tokens, each sharing about ``overlap`` tokens with the last.

    A text that fits is one window; a text without words has none. A single word that costs more than ``size``
    gets a window of its own, and before a word that needs the room less is shared: each window reads something new.
    """
    result: list[Window] = []
    first = 0
    while first < len(words):
        last, used = first, 0
        while last < len(words) and (used + words[last].cost <= size or last == first):
            used += words[last].cost
            last += 1
        result.append(Window(first, last, words[first].start, words[last - 1].end))
        if last == len(words):
            break
        back, shared, room = last, 0, min(overlap, size - words[last].cost)
        while back - 1 > first and shared + words[back - 1].cost <= room:
            back -= 1
            shared += words[back].cost
        first = back
    return result
