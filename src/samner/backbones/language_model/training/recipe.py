"""Settings of a training run of the causal-LM family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samner.backbones.options import changed, check
from samner.errors import SamnerError

METRICS = ("loss", "f1")
PACKING = ("auto", "on", "off")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training run.

    Args:
        steps: Optimiser steps; none for ``epochs`` passes over the data.
        epochs: Passes over the data, where ``steps`` is none.
        learning_rate: Peak.
        warmup: Share of the run spent rising to it; then it falls linearly to zero.
        weight_decay: Decoupled, as in AdamW.
        rank: Of the LoRA adapter.
        alpha: LoRA scale numerator.
        dropout: LoRA dropout.
        batch: Questions in an optimiser step, over all devices; about so many where they are packed.
        micro_batch: Questions that one device holds at a time.
        max_length: Tokens of a question with its answer, at most; longer ones are left out. Packed rows are so long.
        packing: Several questions in a row without padding: ``"auto"`` for on a GPU, if the model keeps them apart;
            ``"on"`` and ``"off"``.
        gradient_checkpointing: Compute activations anew in the backward pass: less memory, about a third slower.
        type_dropout: How often a type of the data set is not asked for.
        max_types: Own types asked for in a question, at most; those that occur in the text go first.
        foreign_types: Types of other data sets asked for in a question, at most, whose answer is none.
        foreign_similarity: A foreign type closer than this cosine to an own type is no safe negative.
        paraphrase_rate: How often a type is asked for by another wording, where there is one.
        metric: What is judged on the dev split: ``"loss"``, or ``"f1"`` of entities in generated answers.
        dev_texts: Texts of each dev split that an evaluation uses, at most.
        evaluations: Evaluations over the run.
        patience: Evaluations without improvement after which training stops; 0 for never.
        seed: Of everything random.
        max_minutes: Time box.
    """

    steps: int | None = None
    epochs: float = 3.0
    learning_rate: float = 2e-4
    warmup: float = 0.03
    weight_decay: float = 0.0
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    batch: int = 16
    micro_batch: int = 8
    max_length: int = 1024
    packing: str = "auto"
    gradient_checkpointing: bool = False
    type_dropout: float = 0.1
    max_types: int = 24
    foreign_types: int = 3
    foreign_similarity: float = 0.5
    paraphrase_rate: float = 0.0
    metric: str = "loss"
    dev_texts: int = 200
    evaluations: int = 10
    patience: int = 4
    seed: int = 0
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        check(
            self,
            positive=_POSITIVE,
            not_negative=("foreign_types", "patience", "seed", "weight_decay"),
            shares=("warmup", "dropout", "type_dropout", "paraphrase_rate"),
        )
        if not isinstance(self.gradient_checkpointing, bool):
            raise SamnerError(f"gradient_checkpointing must be true or false, not {self.gradient_checkpointing!r}")
        for name, known in (("metric", METRICS), ("packing", PACKING)):
            if getattr(self, name) not in known:
                raise SamnerError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Recipe:
        """The defaults with some settings changed.

        Raises:
            SamnerError: If a setting is unknown or out of range.
        """
        return changed(cls, options)


_POSITIVE = (
    *("epochs", "learning_rate", "rank", "alpha", "batch", "micro_batch", "max_length"),
    *("max_types", "dev_texts", "evaluations", "steps", "max_minutes"),
)
