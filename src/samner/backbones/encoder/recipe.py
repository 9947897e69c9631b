"""Settings of a training run of the encoder family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samner.backbones.options import changed, check


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training run; the defaults are those for an expert.

    Args:
        steps: Optimiser steps; none for ``epochs`` passes over the data.
        epochs: Passes over the data, where ``steps`` is none.
        learning_rate: Peak.
        head_rate: Factor on it for the heads of a base.
        rank: Of the LoRA adapter.
        alpha: LoRA scale numerator.
        dropout: LoRA dropout.
        batch_tokens: Padded sub-tokens in a batch, about.
        batch_texts: Texts in a batch, at most.
        max_types: Own types asked for in a batch, at most.
        foreign_types: Types of other data sets asked for in a batch as negatives.
        foreign_similarity: A foreign type closer than this cosine to an own type is no safe negative.
        paraphrase_rate: How often a type is asked for by another wording, where there is one.
        dev_texts: Texts of each dev split that an evaluation uses, at most.
        evaluations: Evaluations over the run.
        patience: Evaluations without improvement after which training stops; 0 for never.
        seed: Of everything random.
        max_minutes: Time box.
    """

    steps: int | None = None
    epochs: float = 10.0
    learning_rate: float = 1e-3
    head_rate: float = 1.0
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    batch_tokens: int = 512
    batch_texts: int = 16
    max_types: int = 24
    foreign_types: int = 4
    foreign_similarity: float = 0.5
    paraphrase_rate: float = 0.0
    dev_texts: int = 200
    evaluations: int = 10
    patience: int = 4
    seed: int = 0
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        check(
            self,
            positive=_POSITIVE,
            not_negative=("foreign_types", "patience", "seed"),
            shares=("dropout", "paraphrase_rate"),
        )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Recipe:
        """The defaults with some settings changed.

        Raises:
            SamnerError: If a setting is unknown or out of range.
        """
        return changed(cls, options)


_POSITIVE = (
    *("epochs", "learning_rate", "rank", "alpha", "batch_tokens", "batch_texts"),
    *("max_types", "dev_texts", "evaluations", "steps", "max_minutes"),
)
