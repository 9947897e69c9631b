"""Settings of a training run of the causal-LM family."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from samner.backbones.recipe import TrainingRecipe


class Recipe(TrainingRecipe):
    """Settings of a training run; the defaults are those for an expert.

    Attributes:
        warmup: Share of the run spent rising to the peak learning rate; then it falls linearly to zero.
        weight_decay: Decoupled, as in AdamW.
        batch: Questions in an optimiser step, over all devices; about so many where they are packed.
        micro_batch: Questions that one device holds at a time.
        max_length: Tokens of a question with its answer, at most; longer ones are left out. Packed rows are so long.
        packing: Several questions in a row without padding: ``"auto"`` for on a GPU, if the model keeps them apart;
            ``"on"`` and ``"off"``.
        gradient_checkpointing: Compute activations anew in the backward pass: less memory, about a third slower.
        type_dropout: How often a type of the data set is not asked for.
        metric: What is judged on the dev split: ``"loss"``, or ``"f1"`` of entities in generated answers.
    """

    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch: int = Field(default=16, gt=0)
    micro_batch: int = Field(default=8, gt=0)
    max_length: int = Field(default=1024, gt=0)
    packing: Literal["auto", "on", "off"] = "auto"
    gradient_checkpointing: bool = False
    type_dropout: float = Field(default=0.1, ge=0, lt=1)
    foreign_types: int = Field(default=3, ge=0)
    metric: Literal["loss", "f1"] = "loss"
