"""Where words of a text begin and end, what they cost, and texts in which the names of special tokens are text."""

from __future__ import annotations

import copy
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from samner.windows import Word
from samner.words import words as words_of

LONGEST = 64
"""Characters of a word at most, so that a long string of base64 can be cut into windows."""


def sound(text: str) -> str:
    """The text with ``?`` for each half of a surrogate pair, which no tokenizer can read; offsets stay."""
    return text.encode("utf-8", "replace").decode()


def for_texts(tokenizer: Any, texts: Sequence[str]) -> Any:
    """The tokenizer; if a text holds the name of a special token, one like it for which that is text as any other."""
    special = special_names(tokenizer)
    return _literal(tokenizer) if special and any(map(special.search, texts)) else tokenizer


def special_names(tokenizer: Any) -> re.Pattern[str] | None:
    """What finds the names of a tokenizer's special tokens in a text; none if it has none."""
    if tokenizer not in _SPECIAL:
        names = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content]
        # the longest first, of names that begin alike
        found = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        _SPECIAL[tokenizer] = re.compile(found) if names else None
    return _SPECIAL[tokenizer]


_SPECIAL: WeakKeyDictionary[Any, re.Pattern[str] | None] = WeakKeyDictionary()
_LITERAL: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _literal(tokenizer: Any) -> Any:
    if tokenizer not in _LITERAL:
        other = copy.deepcopy(tokenizer)  # an argument of each call would change what threads share
        other.split_special_tokens = True
        other("", add_special_tokens=False)  # which it takes up now, before any other thread has it
        _LITERAL[tokenizer] = other
    return _LITERAL[tokenizer]


def token_words(texts: Sequence[str], tokenizer: Any) -> list[tuple[Word, ...]]:
    """The words of each text, each with the number of a fast tokenizer's tokens that end in or just before it."""
    if not texts:
        return []
    encoded = for_texts(tokenizer, texts)(
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
