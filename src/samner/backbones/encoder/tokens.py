"""Texts as words and sub-tokens, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from samner.errors import ModelError
from samner.subwords import SubwordTokenizer, pad
from samner.words import Tokens


class WordTokenizer(SubwordTokenizer):
    """Splits texts into words and words into the sub-tokens of a Hugging Face tokenizer; safe for threads.

    Raises:
        ModelError: If the tokenizer is not of the tokenizers library.
    """

    def __init__(self, tokenizer: Any) -> None:
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ModelError("the sentence encoder's tokenizer is not of the tokenizers library, which is needed")
        first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        super().__init__(
            Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
            () if first is None else (first,),
            () if last is None else (last,),
            tokenizer.pad_token_id or 0,
        )


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


def collate(tokens: Sequence[Tokens], tokenizer: SubwordTokenizer) -> Batch:
    """Pad tokenised texts into one batch."""
    padded = pad(tokens, tokenizer)
    rows, width = padded.word_mask.shape
    return Batch(
        torch.from_numpy(padded.input_ids),
        torch.from_numpy(padded.attention_mask),
        torch.from_numpy(padded.word_ids),
        (rows, width),
        torch.from_numpy(padded.word_mask),
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
