"""Texts as words and sub-tokens, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from samner.errors import ModelError
from samner.words import Tokens, Word, sound, words

MAX_WORD_TOKENS = 16
"""Sub-tokens of a word beyond this many are not read: a long string of base64 must not crowd out its sentence."""

_CACHED_WORDS = 200_000


class WordTokenizer:
    """Splits texts into words and words into the sub-tokens of a Hugging Face tokenizer; safe for threads.

    Raises:
        ModelError: If the tokenizer is not of the tokenizers library.
    """

    def __init__(self, tokenizer: Any) -> None:
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ModelError("the sentence encoder's tokenizer is not of the tokenizers library, which is needed")
        # a copy: who shares a tokenizer may set how it pads and cuts, which fails while another thread uses it
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        self.prefix: tuple[int, ...] = () if first is None else (first,)
        self.suffix: tuple[int, ...] = () if last is None else (last,)
        self.pad_id: int = tokenizer.pad_token_id or 0
        self._cache: dict[str, tuple[int, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """Words without any sub-token (control characters, variation selectors) are left out."""
        found = [[(start, end, text[start:end]) for start, end in words(text)] for text in texts]
        if len(self._cache) > _CACHED_WORDS:
            self._cache = {}  # not cleared: another thread may be reading it
        cache = self._cache
        new = list({word for its in found for _, _, word in its if word not in cache})
        if new:
            # half of a surrogate pair is in no tokenizer's reach; "?" takes its place there, the offsets stay
            encoded = self._tokenizer.encode_batch([sound(word) for word in new], add_special_tokens=False)
            cache.update(zip(new, (tuple(one.ids[:MAX_WORD_TOKENS]) for one in encoded), strict=True))
        result = []
        for text, its in zip(texts, found, strict=True):
            kept = [(start, end, cache[word]) for start, end, word in its if cache[word]]
            parts = tuple(Word(start, end, len(ids)) for start, end, ids in kept)
            result.append(Tokens(text, parts, tuple(ids for _, _, ids in kept)))
        return result


@dataclass(slots=True)
class Batch:
    """Padded tensors of a batch of texts.

    Args:
        input_ids: B x T sub-token ids.
        attention_mask: B x T, 1 for real sub-tokens.
        word_ids: B x T, for each sub-token the index of its word in the batch (row * W + column); special tokens
            and padding point at the spare index B * W.
        shape: B and W, W being the words of the longest text.
        word_mask: B x W, true for real words.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    word_ids: torch.Tensor
    shape: tuple[int, int]
    word_mask: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.word_ids.to(device),
            self.shape,
            self.word_mask.to(device),
        )


def collate(tokens: Sequence[Tokens], tokenizer: WordTokenizer) -> Batch:
    """Pad tokenised texts into one batch."""
    extra = len(tokenizer.prefix) + len(tokenizer.suffix)
    length = max(item.cost for item in tokens) + extra
    width = max(1, max(len(item.words) for item in tokens))
    rows = len(tokens)
    ids: npt.NDArray[np.int64] = np.full((rows, length), tokenizer.pad_id, dtype=np.int64)
    mask: npt.NDArray[np.int64] = np.zeros((rows, length), dtype=np.int64)
    word_ids: npt.NDArray[np.int64] = np.full((rows, length), rows * width, dtype=np.int64)
    word_mask: npt.NDArray[np.bool_] = np.zeros((rows, width), dtype=np.bool_)
    start = len(tokenizer.prefix)
    for row, item in enumerate(tokens):
        flat = [*tokenizer.prefix, *(piece for word in item.ids for piece in word), *tokenizer.suffix]
        ids[row, : len(flat)] = flat
        mask[row, : len(flat)] = 1
        owners = np.repeat(np.arange(len(item.ids)), [len(word) for word in item.ids]) + row * width
        word_ids[row, start : start + len(owners)] = owners
        word_mask[row, : len(item.words)] = True
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(mask),
        torch.from_numpy(word_ids),
        (rows, width),
        torch.from_numpy(word_mask),
    )


def repeat(batch: Batch, times: int) -> Batch:
    """The batch stacked ``times`` times, its word indices moved along."""
    rows, width = batch.shape
    spare = rows * width
    word_ids = [torch.where(batch.word_ids == spare, times * spare, batch.word_ids + i * spare) for i in range(times)]
    return Batch(
        batch.input_ids.repeat(times, 1),
        batch.attention_mask.repeat(times, 1),
        torch.cat(word_ids),
        (rows * times, width),
        batch.word_mask.repeat(times, 1),
    )
