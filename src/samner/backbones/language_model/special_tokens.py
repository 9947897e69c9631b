"""Texts in which the names of special tokens are text, as any other."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary


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
