"""Settings of a training run of the encoder family."""

from __future__ import annotations

from pydantic import Field

from samner.backbones.recipe import TrainingRecipe


class Recipe(TrainingRecipe):
    """Settings of a training run; the defaults are those for an expert.

    Attributes:
        head_rate: Factor on the learning rate for the heads of a base.
        batch_tokens: Padded sub-tokens in a batch, about.
        batch_texts: Texts in a batch, at most.
    """

    head_rate: float = 1.0
    batch_tokens: int = Field(default=512, gt=0)
    batch_texts: int = Field(default=16, gt=0)
