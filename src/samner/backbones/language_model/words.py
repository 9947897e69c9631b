"""Where words of a text begin and end, and what they cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from samner.windows import Word
from samner.words import words as words_of

LONGEST = 64
"""Characters of a word at most, so that a long string of base64 can be cut into windows."""


def sound(text: str) -> str:
    """The text with ``?`` for each half of a surrogate pair, which no tokenizer can read; offsets stay."""
    return text.encode("utf-8", "replace").decode()


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
        words, counted = [], 0
        for start, end in words_of(text, LONGEST):
            total = bisect_right(ends, end)
            words.append(Word(start, end, total - counted))
            counted = total
        result.append(tuple(words))
    return result
