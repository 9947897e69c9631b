"""What the model reads: the types, then the text twice, and where the states of types and words stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from samner.words import words

_BEGIN, _BETWEEN, _TEXT = "Types:", ";", "\nText: "


@dataclass(frozen=True, slots=True)
class TypesPart:
    """The list of types as sub-tokens: their ids, and for each of the T types the place of its last one."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextPart:
    """One copy of a text as sub-tokens: their ids, the W words (start, end), and the place of each word's last one."""

    ids: tuple[int, ...]
    words: tuple[tuple[int, int], ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A text and the types that are looked for in it."""

    types: TypesPart
    text: TextPart

    @property
    def ids(self) -> tuple[int, ...]:
        """All sub-tokens that the model reads."""
        return (*self.types.ids, *self.text.ids, *self.text.ids)

    @property
    def word_places(self) -> list[int]:
        """Where the words of the second copy stand among ``ids``."""
        before = len(self.types.ids) + len(self.text.ids)
        return [before + place for place in self.text.places]


class Reader:
    """Makes questions with the tokenizer of a causal language model.

    Args:
        tokenizer: A fast tokenizer of transformers.

    Attributes:
        padding: Id of the sub-token that fills rows up.
    """

    words = staticmethod(words)

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._type_ids = lru_cache(maxsize=20_000)(self._ids)
        self.padding = int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)

    def types(self, prompts: Sequence[str]) -> TypesPart:
        """The list of types."""
        ids = list(self._type_ids(_BEGIN))
        places = []
        for i, prompt in enumerate(prompts):
            ids += self._type_ids(f"{_BETWEEN if i else ''} {prompt}")
            places.append(len(ids) - 1)
        return TypesPart(tuple(ids), tuple(places))

    def text(self, text: str) -> TextPart:
        """One copy of a text."""
        read = _TEXT + _encodable(text)
        encoded = self._tokenizer(read, add_special_tokens=False, return_offsets_mapping=True)
        spans = self.words(text)
        places = _last_tokens(spans, [(a - len(_TEXT), b - len(_TEXT)) for a, b in encoded["offset_mapping"]])
        return TextPart(tuple(encoded["input_ids"]), tuple(spans), tuple(places))

    def question(self, text: str, prompts: Sequence[str]) -> Question:
        """A text and the types that are looked for in it."""
        return Question(self.types(prompts), self.text(text))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(_encodable(text), add_special_tokens=False)["input_ids"])


@dataclass(slots=True)
class Batch:
    """Questions as tensors.

    Args:
        input_ids: B x N sub-tokens. Padding follows each row: in a causal model nothing that counts attends to it.
        type_places: B x T places of types among the sub-tokens, padded with 0.
        word_places: B x W places of words, padded with 0.
        type_mask: B x T, true for real types.
        word_mask: B x W, true for real words.
    """

    input_ids: Tensor
    type_places: Tensor
    word_places: Tensor
    type_mask: Tensor
    word_mask: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved = (self.input_ids, self.type_places, self.word_places, self.type_mask, self.word_mask)
        return Batch(*(tensor.to(device) for tensor in moved))


def collate(questions: Sequence[Question], padding: int) -> Batch:
    """Questions of any lengths as one batch.

    Args:
        questions: At least one.
        padding: Id of the sub-token that fills rows up.
    """
    ids, _ = _padded([question.ids for question in questions], padding)
    types, type_mask = _padded([question.types.places for question in questions], 0)
    spots, word_mask = _padded([question.word_places for question in questions], 0)
    return Batch(ids, types, spots, type_mask, word_mask)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor]:
    longest = max(1, max(map(len, rows)))
    values = torch.full((len(rows), longest), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for i, row in enumerate(rows):
        values[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = True
    return values, mask


def _last_tokens(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[int]:
    """For each word the last sub-token that shares a character with it; both lists are in order."""
    places = []
    token = last = 0
    for start, end in spans:
        while token < len(offsets) and offsets[token][0] < end:
            if offsets[token][1] > start:
                last = token
            token += 1
        token = last  # the next word may begin within the same sub-token
        places.append(last)
    return places


def _encodable(text: str) -> str:
    """Half of a surrogate pair is in no tokenizer's reach: "?" takes its place, the offsets stay."""
    return text.encode("utf-8", "replace").decode()
