"""What an engine has to know of a tokenizer's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any


class Vocabulary:
    """The tokens of a byte-level tokenizer as its vocabulary has them.

    Args:
        tokenizer: Of transformers.
        ends: The tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self.ends = frozenset(ends)

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """What stands for each token."""
        return [piece or "" for piece in self._tokenizer.convert_ids_to_tokens(tokens)]

    @cached_property
    def closers(self) -> list[int]:
        """The tokens that end a string and its list."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return [number for token, number in vocabulary.items() if token.startswith('"]')]
