"""Where words of a text begin and end, and what they cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import regex

from samner.windows import Word
from samner.words import words

_LONGEST = 64
_PART = regex.compile(rf"\X{{1,{_LONGEST}}}", regex.DOTALL)


def sound(text: str) -> str:
    """The text with ``?`` for each half of a surrogate pair, which no tokenizer can read; offsets stay."""
    return text.encode("utf-8", "replace").decode()


def pieces(text: str) -> list[str]:
    """Words and what is between them: the whole text."""
    places = [0, *(place for span in _spans(text) for place in span), len(text)]
    return [text[a:b] for a, b in pairwise(places) if a < b]


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
        counted, its_words = 0, []
        for start, end in _spans(text):
            total = bisect_right(ends, end)
            its_words.append(Word(start, end, total - counted))
            counted = total
        result.append(tuple(its_words))
    return result


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the words, one longer than 64 characters in parts: a string of base64 must fit into windows, too."""
    for start, end in words(text):
        if end - start <= _LONGEST:
            yield start, end
        else:
            yield from (part.span() for part in _PART.finditer(text, start, end))
