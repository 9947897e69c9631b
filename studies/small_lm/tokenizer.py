"""A tokenizer that cuts a word alike with and without a blank before it.

A name follows a blank in a text but a quotation mark in JSON. Byte-level BPE as usual learns merges with the blank and
cuts the two differently, and a model as small as this never learns to copy from one to the other. Here the merges are
learnt on words without blanks, and those of a blank and a token come last: the two differ in their first token only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

BLANK = "Ġ"
"""How byte-level BPE writes a blank."""
PAD, END = "<pad>", "<end>"

_WORDS = r"\p{L}+|\p{N}| |[^\s\p{L}\p{N}]+|\s"
_WORDS_AFTER_BLANKS = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s"


def train_tokenizer(texts: Sequence[str], plain: int, blank: int) -> PreTrainedTokenizerFast:
    """Learn a tokenizer from texts.

    Args:
        texts: What the model will read and write.
        plain: Tokens without a blank before them, the 256 bytes among them.
        blank: Most tokens that are one of those after a blank.
    """
    first = Tokenizer(models.BPE())
    first.pre_tokenizer = _split(_WORDS)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    first.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=plain, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False
        ),
    )
    vocabulary, merges = _parts(first)
    second = _bpe(vocabulary, merges)
    after_blank = Counter(
        token
        for text in texts
        for before, token in pairwise(second.encode(text).tokens)
        if before == BLANK and token != BLANK
    )
    for token, _ in after_blank.most_common(blank):
        vocabulary[BLANK + token] = len(vocabulary)
        merges.append((BLANK, token))
    return PreTrainedTokenizerFast(tokenizer_object=_bpe(vocabulary, merges), eos_token=END, pad_token=PAD)


def without_blank(tokenizer: Any) -> dict[int, int]:
    """For every token that begins with a blank and has one, the token without."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return {
        index: vocabulary[token[1:]]
        for token, index in vocabulary.items()
        if token.startswith(BLANK) and token[1:] in vocabulary
    }


def _bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = _split(_WORDS_AFTER_BLANKS)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _parts(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _split(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
