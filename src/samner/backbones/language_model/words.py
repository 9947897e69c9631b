"""Where words of a text begin and end, and what they cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import regex

from samner.windows import Word

# Letters and digits together, every other visible character by itself, so that an entity may begin or end at any
# punctuation mark. Han and kana have no blanks between words: there each character is a word. Nor is a word longer
# than 64 characters, so that a long string of base64 can be cut into windows.
_WORD = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{N}\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}]]{1,64}|[\S--[\p{L}\p{N}]]"
)
WORD = regex.compile(_WORD, regex.V1)
PIECE = regex.compile(rf"{_WORD}|\s+", regex.V1)
"""Words and what is between them: the whole text."""


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
        for match in WORD.finditer(text):
            total = bisect_right(ends, match.end())
            words.append(Word(match.start(), match.end(), total - counted))
            counted = total
        result.append(tuple(words))
    return result
