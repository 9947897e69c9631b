"""What an expert is trained on and how, whatever the family: labelled texts, negatives, other wordings, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from samner.embedding import encode
from samner.entities import EntityType, Example
from samner.settings import Settings, validated

Paraphrases = Mapping[str, Sequence[str]]
"""For a type's prompt, other ways to say it, one of which a training batch may use instead."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled texts of one data set: every occurrence of every one of its types is annotated.

    Args:
        name: For messages and for the card.
        examples: The texts. An entity's score is how sure its label is, 1 for gold: what families that score words
            train their scores towards.
        types: The types the data set annotates.
        weight: How many times as often as its size says it is drawn, where data sets are drawn by their size.
    """

    name: str
    examples: Sequence[Example]
    types: tuple[EntityType, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a model learns from.

    Args:
        train: The data sets.
        dev: Their dev splits, for early stopping; none means training runs its course.
        foreign: Prompts of types of other data sets, to be asked for as negatives.
        paraphrases: Other ways to say a type's prompt.
    """

    train: Sequence[TrainingSet]
    dev: Sequence[TrainingSet] = ()
    foreign: Sequence[str] = ()
    paraphrases: Paraphrases = field(default_factory=dict)


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


def safe_negatives(
    data: TrainingSet,
    foreign: Sequence[str],
    similarity: float,
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]] = encode,
) -> list[str]:
    """Foreign types unlike every own type: an unannotated mention of one is unlikely in this data set's texts.

    Args:
        data: Whose types are its own.
        foreign: Prompts of types.
        similarity: Cosine of their embeddings from which two types are too close.
        embed: Gives unit vectors of prompts, one a row.
    """
    own = [t.prompt for t in data.types]
    others = [prompt for prompt in foreign if prompt not in own]
    if not others:
        return []
    closest = (embed(others) @ embed(own).T).max(axis=1)
    return [prompt for prompt, cosine in zip(others, closest, strict=True) if cosine < similarity]


def reworded(prompt: str, paraphrases: Paraphrases, rate: float, rng: np.random.Generator) -> str:
    """A type's prompt, or with a probability of ``rate`` another way to say it, where there is one."""
    others = paraphrases.get(prompt)
    return others[int(rng.integers(len(others)))] if others and rng.random() < rate else prompt


def identity(data: TrainingData, recipe: TrainingRecipe, *more: Any) -> str:
    """Digest of what decides a run, apart from its time box: a checkpoint belongs to runs with the same one.

    Args:
        data: What is learnt.
        recipe: How.
        more: Whatever else decides it, as JSON values.
    """
    sizes = [(s.name, len(s.examples), [t.prompt for t in s.types]) for s in [*data.train, *data.dev]]
    settings = recipe.model_dump(exclude={"max_minutes"})
    return hashlib.sha256(json.dumps([settings, sizes, *more]).encode()).hexdigest()
