"""Texts as words and sub-tokens of the tokenizers library, and batches of them as padded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from samner.words import Tokens, Word, sound, words

MAX_WORD_TOKENS = 16
"""Sub-tokens of a word beyond this many are not read: a long string of base64 must not crowd out its sentence."""

_CACHED_WORDS = 200_000


class SubwordTokenizer:
    """Splits texts into words and words into sub-tokens; safe for threads.

    Args:
        tokenizer: Its own: who shares a tokenizer may set how it pads and cuts, which fails while another thread uses
            it.
        prefix: Tokens that a text begins with.
        suffix: Tokens that a text ends with.
        pad_id: The token that fills up what is shorter.
    """

    def __init__(self, tokenizer: Tokenizer, prefix: Sequence[int], suffix: Sequence[int], pad_id: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.prefix: tuple[int, ...] = tuple(prefix)
        self.suffix: tuple[int, ...] = tuple(suffix)
        self.pad_id = pad_id
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

    def to_str(self) -> str:
        """The tokenizer as JSON, as its library reads it."""
        return str(self._tokenizer.to_str())


@dataclass(slots=True)
class Padded:
    """Arrays of a batch of texts.

    Args:
        input_ids: B x T sub-token ids.
        attention_mask: B x T, 1 for real sub-tokens.
        word_ids: B x T, for each sub-token the index of its word in the batch (row * W + column); special tokens
            and padding point at the spare index B * W.
        word_mask: B x W, true for real words, W being the words of the longest text.
    """

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    word_ids: npt.NDArray[np.int64]
    word_mask: npt.NDArray[np.bool_]

    def pooling(self) -> npt.NDArray[np.float32]:
        """B x W x T: the share of each sub-token in its word's mean; a padding word has none."""
        rows, width = self.word_mask.shape
        row, token = np.nonzero(self.word_ids < rows * width)
        shares = np.zeros((rows, width, self.word_ids.shape[1]), dtype=np.float32)
        shares[row, self.word_ids[row, token] - row * width, token] = 1
        shares /= np.maximum(shares.sum(axis=2, keepdims=True), 1)
        return shares


def pad(tokens: Sequence[Tokens], tokenizer: SubwordTokenizer) -> Padded:
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
    return Padded(ids, mask, word_ids, word_mask)
