"""Texts as words, words as what they cost in tokens, and long texts as windows of words: one way for all.

A word is a run of letters, digits and their marks; any other visible character is one by itself, as BERT's
pre-tokeniser has it, so that an entity may begin or end at any punctuation mark. Scripts written without blanks (Han,
kana, Thai, Khmer, ...) tell no words: there each character is one. A character is what a reader sees as one, an
extended grapheme cluster (UAX 29): an emoji with its skin tone, a flag, a letter with its accents. None is ever cut.
Format characters (soft hyphen, word joiner, zero-width joiners) within a word do not part it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import regex

from samner.entities import Example

_UNPARTED = r"[\p{Han}\p{Hiragana}\p{Katakana}\u30FC\p{Line_Break=Complex_Context}]"
# A character of a word: its first code point tells, but under an emoji's selector or a keycap it is a sign.
_LETTER = rf"(?=\p{{Grapheme_Cluster_Break=Prepend}}*[[\p{{L}}\p{{N}}\p{{M}}]--{_UNPARTED}])(?!.[\uFE0F\u20E3])\X"
_FORMAT = r"[\p{Word_Break=Format}--\u200B]"  # a zero-width space is there to part words
# Last: a blank that bears an accent, which is seen.
_WORD = rf"{_LETTER}(?:{_FORMAT}*{_LETTER}){{0,%s}}|(?=\S)\X|(?=\s)\X(?<!\s)"
_ASCII_WORD = r"[A-Za-z0-9]{1,%s}|\S"
_CHARACTER = regex.compile(r"\X")

LONGEST = 64
"""Characters of a word at most, so that a long string of base64 can be cut into windows."""


def words(text: str, longest: int | None = None) -> list[tuple[int, int]]:
    """Start and end (exclusive, in code points) of every word of a text, in order.

    Args:
        text: Any, also with halves of surrogate pairs. Whatever is no white space is in a word.
        longest: Cut words of more characters than this into pieces.
    """
    return [match.span() for match in _pattern(longest, text.isascii()).finditer(text)]


def pieces(text: str, longest: int | None = None) -> list[str]:
    """The words and what stands between them: together the whole text."""
    result: list[str] = []
    end = 0
    for first, last in words(text, longest):
        result.extend(part for part in (text[end:first], text[first:last]) if part)
        end = last
    return [*result, text[end:]] if end < len(text) else result


def characters(text: str) -> list[str]:
    """What a reader sees as one character each: the extended grapheme clusters of a text."""
    return _CHARACTER.findall(text)


def borders(text: str) -> Container[int]:
    """Offsets at which a character begins or ends."""
    if text.isascii() and "\r" not in text:
        return range(len(text) + 1)
    return {0, *(match.end() for match in _CHARACTER.finditer(text))}


def sound(text: str) -> str:
    """The text with ``?`` for each half of a surrogate pair, which no tokenizer can read; offsets stay."""
    return text.encode("utf-8", "replace").decode()


@cache
def _pattern(longest: int | None, ascii_only: bool) -> regex.Pattern[str]:
    if ascii_only:  # the same words, seven times as fast
        return regex.compile(_ASCII_WORD % (longest or ""))
    return regex.compile(_WORD % (longest - 1 if longest else ""), regex.V1 | regex.DOTALL)


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


def token_words(texts: Sequence[str], tokenizer: Any) -> list[tuple[Word, ...]]:
    """The words of each text, each with the number of a fast tokenizer's tokens that end in or just before it."""
    if not texts:
        return []
    encoded = tokenizer(
        [sound(text) for text in texts], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    result = []
    for text, offsets in zip(texts, encoded["offset_mapping"], strict=True):
        ends = sorted(end for _, end in offsets)
        its, counted = [], 0
        for start, end in words(text, LONGEST):
            total = bisect_right(ends, end)
            its.append(Word(start, end, total - counted))
            counted = total
        result.append(tuple(its))
    return result


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
