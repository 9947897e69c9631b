"""Texts as words and sub-tokens, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from samner.sentence_encoder import ends
from samner.subwords import SubwordTokenizer, pad
from samner.words import Tokens


class WordTokenizer(SubwordTokenizer):
    """Splits texts into words and words into the sub-tokens of a sentence encoder's tokenizer; safe for threads.

    Args:
        tokenizer: Of which a copy is taken.
        pad_id: The token that fills up what is shorter.
    """

    def __init__(self, tokenizer: Tokenizer, pad_id: int) -> None:
        super().__init__(Tokenizer.from_str(tokenizer.to_str()), *ends(tokenizer), pad_id)


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
