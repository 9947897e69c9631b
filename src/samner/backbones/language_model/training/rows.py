"""From labelled texts to the rows that a causal language model is trained on, and how many steps that makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import Recipe, SftExample, dev_examples, encode, sft_examples
from samner.backbones.training import TrainingData
from samner.errors import SamnerError

_Row = dict[str, list[int]]
_PROBE = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process does.

    Args:
        train: Rows with ``input_ids`` and ``labels``; packed ones also with ``seq_lengths``.
        dev: Rows of the dev splits, never packed.
        packed: Whether several questions share a row.
        rows: Rows that a device holds at a time.
        accumulate: How often it does before an optimiser step.
        steps: Optimiser steps.
        examples: Questions learnt from, over all passes.
        left_out: Questions that were too long.
        tokens: Of all questions and answers.
    """

    train: Sequence[_Row]
    dev: Sequence[_Row]
    packed: bool
    rows: int
    accumulate: int
    steps: int
    examples: int
    left_out: int
    tokens: int

    def describe(self) -> str:
        """One line for people."""
        how = f"packed in rows: {len(self.train):,}" if self.packed else "not packed"
        out = f", too long and left out: {self.left_out:,}" if self.left_out else ""
        return f"optimiser steps: {self.steps:,}; questions: {self.examples:,} ({self.tokens:,} tokens, {how}{out})"


def make_plan(
    model: Any, tokenizer: Any, prompt: Prompt, data: TrainingData, recipe: Recipe, *, processes: int = 1
) -> Plan:
    """Draw, tokenise and maybe pack the examples.

    Raises:
        SamnerError: If no question fits into ``recipe.max_length``, or the model cannot be trained on packed rows and
            the recipe asks for it.
    """
    encoded = _encoded(sft_examples(data, prompt, tokenizer, recipe, passes=_passes(data, recipe)), tokenizer)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = min(recipe.max_length, context or recipe.max_length)
    train = [row for row in encoded if len(row["input_ids"]) <= longest]
    if not train:
        shortest = min((len(row["input_ids"]) for row in encoded), default=0)
        raise SamnerError(
            f"max_length={longest}: no question with its answer is that short; the shortest has {shortest} tokens"
        )
    tokens = sum(len(row["input_ids"]) for row in train)
    packed = _packs(model, recipe)
    mean = tokens / len(train)
    share = mean / recipe.max_length if packed else 1.0  # of a row that a question fills, about
    rows = max(1, min(round(recipe.micro_batch * share), math.ceil(recipe.batch * share / processes)))
    accumulate = max(1, round(recipe.batch * share / (rows * processes)))
    made = _pack(train, recipe.max_length) if packed else train
    dev = _encoded(dev_examples(data, prompt, tokenizer, recipe), tokenizer)
    return Plan(
        train=made,
        dev=[row for row in dev if len(row["input_ids"]) <= longest],
        packed=packed,
        rows=rows,
        accumulate=accumulate,
        steps=recipe.steps or math.ceil(len(made) / (rows * accumulate * processes)),
        examples=len(train),
        left_out=len(encoded) - len(train),
        tokens=tokens,
    )


def _passes(data: TrainingData, recipe: Recipe) -> float:
    """How many passes are drawn: as many questions as the steps take, one a text, but not more than are asked for."""
    texts = max(1, sum(len(s.examples) for s in data.train))
    passes = recipe.epochs if recipe.steps is None else math.ceil(recipe.steps * recipe.batch / texts)
    return passes if recipe.questions is None else min(passes, recipe.questions / texts)


def _encoded(examples: Sequence[SftExample], tokenizer: Any) -> list[_Row]:
    return list(encode(examples, tokenizer))


def _packs(model: Any, recipe: Recipe) -> bool:
    if recipe.packing == "off" or (recipe.packing == "auto" and model.device.type != "cuda"):
        return False  # without flash attention a packed row costs the square of its length
    exact = packs_exactly(model)
    if not exact and recipe.packing == "on":
        raise SamnerError(
            f"packing=on: {type(model).__name__} lets questions in one row see each other; use packing=off"
        )
    return exact


def _pack(rows: Sequence[_Row], length: int) -> list[_Row]:
    """Rows of at most ``length`` tokens by best-fit decreasing, in trl's way."""
    import datasets
    from trl import pack_dataset

    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        packed = pack_dataset(datasets.Dataset.from_list(list(rows)), length, "bfd")
    finally:
        if shown:
            datasets.enable_progress_bars()
    made: list[_Row] = packed.to_list()
    return made


@torch.no_grad()
def packs_exactly(model: Any) -> bool:
    """Whether a sequence in a packed row is read as if the one before it were not there.

    trl marks the sequences of a row by positions that start again at 0 and gives no attention mask. From that,
    transformers makes a block-diagonal mask for the attention of most models, whether flash, SDPA or eager; recurrent
    models, and those with code of their own, may ignore it. So a model is tried: what it says of the second sequence
    must not depend on the first, and must be what it says of it alone.
    """
    training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        vocabulary = model.config.get_text_config().vocab_size
        first, other, second = (torch.arange(_PROBE, device=device) * k % vocabulary for k in (1, 3, 2))
        positions = torch.arange(_PROBE, device=device)

        def read(*sequences: torch.Tensor) -> torch.Tensor:
            ids, places = torch.cat(sequences)[None], positions.repeat(len(sequences))[None]
            logits: torch.Tensor = model(input_ids=ids, position_ids=places, use_cache=False).logits
            return logits[0, -_PROBE:].float()

        one, two, alone = read(first, second), read(other, second), read(second)
    finally:
        model.train(training)
    scale = float(alone.std())
    # kernels for other lengths add in another order: bfloat16 shows that in the second digit
    apart = float((one - two).abs().max()) <= 1e-5 * scale
    return apart and float((one - alone).abs().max()) <= 0.05 * scale
