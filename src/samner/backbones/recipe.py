"""What the training recipes of all families have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field

from samner.settings import Settings, validated


class TrainingRecipe(Settings):
    """Settings of a training run; families add theirs and set other defaults.

    Attributes:
        steps: Optimiser steps; none for ``epochs`` passes over the data.
        epochs: Passes over the data, where ``steps`` is none.
        learning_rate: Peak.
        rank: Of the LoRA adapter.
        alpha: LoRA scale numerator.
        dropout: LoRA dropout.
        max_types: Own types asked for at a time, at most.
        foreign_types: Types of other data sets asked for as negatives at a time, at most.
        foreign_similarity: A foreign type closer than this cosine to an own type is no safe negative.
        paraphrase_rate: How often a type is asked for by another wording, where there is one.
        dev_texts: Texts of each dev split that an evaluation uses, at most.
        evaluations: Evaluations over the run.
        patience: Evaluations without improvement after which training stops; 0 for never.
        seed: Of everything random.
        max_minutes: Time box.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    steps: int | None = Field(default=None, gt=0)
    epochs: float = Field(default=10.0, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=32, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    max_types: int = Field(default=24, gt=0)
    foreign_types: int = Field(default=4, ge=0)
    foreign_similarity: float = 0.5
    paraphrase_rate: float = Field(default=0.0, ge=0, lt=1)
    dev_texts: int = Field(default=200, gt=0)
    evaluations: int = Field(default=10, gt=0)
    patience: int = Field(default=4, ge=0)
    seed: int = Field(default=0, ge=0)
    max_minutes: float | None = Field(default=None, gt=0)

    @classmethod
    def of(cls, options: Mapping[str, Any], place: str = "training option") -> Self:
        """The defaults with some settings changed.

        Args:
            options: Those settings, by name.
            place: What messages begin with.

        Raises:
            SamnerError: If a setting is unknown or out of range.
        """
        return validated(cls, options, place)
