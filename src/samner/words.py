"""Texts as words: one segmentation for every family and every format."""

from __future__ import annotations

import regex

# Letters, digits and their combining marks together; every other visible character by itself, as BERT's
# pre-tokeniser has it, so that an entity may begin or end at any punctuation mark. Han and kana have no blanks
# between words: there each character is a word.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{N}\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}]]+|\S", regex.V1
)


def words(text: str) -> list[tuple[int, int]]:
    """Start and end (exclusive, in code points) of every word of a text."""
    return [match.span() for match in _WORD.finditer(text)]
