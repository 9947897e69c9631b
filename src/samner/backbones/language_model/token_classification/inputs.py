"""What the model reads: the types, then the text twice, and where the states of types and words stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor

from samner.backbones.language_model.special_tokens import for_texts
from samner.words import Tokens, Word, sound, words

_BEGIN, _BETWEEN, _TEXT = "Types:", ";", "\nText:"

MAX_WORD_TOKENS = 32
"""Sub-tokens of a word beyond this many are not read: a long string of base64 must not crowd out its sentence."""


@dataclass(frozen=True, slots=True)
class TypesPart:
    """The list of types as sub-tokens: their ids, and for each of the T types the place of its last one."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A text and the types that are looked for in it.

    Args:
        types: The list of types.
        copies: The sub-tokens of both copies of the text.
        places: Where the W words of the second copy have their last sub-tokens, counted from the first copy's begin.
    """

    types: TypesPart
    copies: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """All sub-tokens that the model reads."""
        return (*self.types.ids, *self.copies)


class Reader:
    """Makes questions with the tokenizer of a causal language model.

    Args:
        tokenizer: A fast tokenizer of transformers.

    Attributes:
        padding: Id of the sub-token that fills rows up.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.padding = int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
        self._text = self._ids(_TEXT)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The words of each text with the sub-tokens that make them up.

        A word has those that share a character with it and with no word before it, and the blanks before it. One that
        lies within a word's last sub-token has none of its own, and shares that.
        """
        if not texts:
            return []
        read = [f" {sound(text)}" for text in texts]  # the text follows a colon
        encoded = for_texts(self._tokenizer, read)(read, add_special_tokens=False, return_offsets_mapping=True)
        rows = zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [_by_word(text, ids, offsets) for text, ids, offsets in rows]

    def types(self, prompts: Sequence[str]) -> TypesPart:
        """The list of types."""
        parts = [self._ids(_BEGIN), *(self._ids(f"{_BETWEEN if i else ''} {p}") for i, p in enumerate(prompts))]
        ends = list(accumulate(map(len, parts)))
        return TypesPart(tuple(chain(*parts)), tuple(end - 1 for end in ends[1:]))

    def question(self, tokens: Tokens, types: TypesPart) -> Question:
        """A text and the types that are looked for in it."""
        copy = (*self._text, *chain(*tokens.ids))
        ends = accumulate(map(len, tokens.ids), initial=len(copy) + len(self._text))
        return Question(types, copy + copy, tuple(end - 1 for end in ends)[1:])

    @lru_cache(maxsize=20_000)  # noqa: B019 - a reader lives as long as its model
    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(for_texts(self._tokenizer, [text])(sound(text), add_special_tokens=False)["input_ids"])


def padded(rows: Sequence[Sequence[int]], filler: int, device: torch.device | None = None) -> Tensor:
    """Rows of any lengths, at least one, as one tensor; short ones are filled up."""
    longest = max(1, max(map(len, rows)))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], dtype=torch.long, device=device)


def _by_word(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Tokens:
    spans = words(text)
    its: list[list[int]] = [[] for _ in spans]
    word = 0
    for token, (start, _) in zip(ids, offsets, strict=True):
        while word < len(spans) and spans[word][1] < start:  # offsets are greater by the blank before the text
            word += 1
        if word == len(spans):
            break
        its[word].append(token)
    kept = [tuple(ids[:MAX_WORD_TOKENS]) for ids in its]
    return Tokens(
        text,
        tuple(Word(start, end, len(ids)) for (start, end), ids in zip(spans, kept, strict=True)),
        tuple(kept),
    )
