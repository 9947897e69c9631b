"""Texts as words: one segmentation for every family and every format.

A word is a run of letters, digits and their marks; any other visible character is one by itself, as BERT's
pre-tokeniser has it, so that an entity may begin or end at any punctuation mark. Scripts written without blanks (Han,
kana, Thai, Khmer, ...) tell no words: there each character is one. A character is what a reader sees as one, an
extended grapheme cluster (UAX 29): an emoji with its skin tone, a flag, a letter with its accents. None is ever cut.
Format characters (soft hyphen, word joiner, zero-width joiners) within a word do not part it.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache

import regex

_UNPARTED = r"[\p{Han}\p{Hiragana}\p{Katakana}\u30FC\p{Line_Break=Complex_Context}]"
# A character of a word: its first code point tells, but under an emoji's selector or a keycap it is a sign.
_LETTER = rf"(?=\p{{Grapheme_Cluster_Break=Prepend}}*[[\p{{L}}\p{{N}}\p{{M}}]--{_UNPARTED}])(?!.[\uFE0F\u20E3])\X"
_FORMAT = r"[\p{Word_Break=Format}--\u200B]"  # a zero-width space is there to part words
# Last: a blank that bears an accent, which is seen.
_WORD = rf"{_LETTER}(?:{_FORMAT}*{_LETTER}){{0,%s}}|(?=\S)\X|(?=\s)\X(?<!\s)"
_ASCII_WORD = r"[A-Za-z0-9]{1,%s}|\S"
_CHARACTER = regex.compile(r"\X")


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


@cache
def _pattern(longest: int | None, ascii_only: bool) -> regex.Pattern[str]:
    if ascii_only:  # the same words, seven times as fast
        return regex.compile(_ASCII_WORD % (longest or ""))
    return regex.compile(_WORD % (longest - 1 if longest else ""), regex.V1 | regex.DOTALL)
