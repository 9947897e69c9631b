"""Long texts as overlapping windows that a model can read whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from samner.entities import Example


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


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as a model is to read it, tokenised once for all that is done with it.

    Args:
        text: The text.
        words: Its words.
        ids: The tokens of each word, where the family reads words by themselves.
    """

    text: str
    words: tuple[Word, ...]
    ids: tuple[tuple[int, ...], ...] = ()

    @property
    def cost(self) -> int:
        """Number of tokens, special tokens not counted."""
        return sum(word.cost for word in self.words)

    def cut(self, window: Window) -> Tokens:
        """The part of the text in a window, with offsets into that part."""
        first, last, start, end = window
        words = (Word(word.start - start, word.end - start, word.cost) for word in self.words[first:last])
        return Tokens(self.text[start:end], tuple(words), self.ids[first:last])


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


def cut_example(example: Example, tokens: Tokens, size: int) -> list[tuple[Example, Tokens]]:
    """An example in windows that do not overlap, each with the entities that lie wholly in it."""
    parts = []
    for window in windows(tokens.words, size, 0):
        entities = tuple(
            replace(e, start=e.start - window.start, end=e.end - window.start)
            for e in example.entities
            if window.start <= e.start and e.end <= window.end
        )
        part = tokens.cut(window)
        parts.append((Example(part.text, entities), part))
    return parts
