"""The causal-LM family behind the backbone interface."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from samner.backbones.base import DryRun, PlannedBase
from samner.backbones.language_model.base_card import BaseCard, create_base
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.generation.ask import Engine, ask
from samner.backbones.language_model.generation.prompt import DEFAULT_PROMPT, Prompt, load_prompt, prompt_names
from samner.backbones.language_model.gguf import base_from_gguf, is_gguf
from samner.backbones.language_model.loading import (
    checkpoint_digest,
    linear_layers,
    load_model,
    load_shapes,
    load_tokenizer,
)
from samner.backbones.language_model.special_tokens import for_texts
from samner.backbones.language_model.training.examples import Recipe
from samner.backbones.mixed_batch import MixedBackbone, MixedModels
from samner.backbones.training import TrainingData
from samner.entities import Entity, EntityType
from samner.precision import fastest_dtype
from samner.words import Tokens, token_words

_COUNTING = threading.Lock()  # of the module, as what holds a lock cannot be pickled


class CausalBackbone(MixedBackbone):
    """A causal language model that is asked for entities and answers in JSON.

    Args:
        folder: Holds ``base.json`` and what that refers to.
        device: A torch device name.
        weights: Whether to load them; without, only the shapes of its modules are known.

    Attributes:
        model: The language model, of transformers.
        tokenizer: Its tokenizer.
        prompt: How it is asked.
        card: What ``base.json`` says.

    Raises:
        ModelError: If the card, the model or its tokenizer cannot be read, or the model has no linear layers.
        SamnerError: If the prompt cannot be read.
    """

    family: ClassVar[str] = "causal"
    over_models: ClassVar[bool] = True

    def __init__(self, folder: Path, device: str = "cpu", *, weights: bool = True) -> None:
        self.card = BaseCard.read(folder)
        self.device = torch.device(device)
        self.reference = self.card.model_reference(folder)
        self.prompt = load_prompt(self.card.prompt_reference(folder))
        self.tokenizer = load_tokenizer(self.reference)
        if weights:
            self.model = load_model(self.reference, self.card, self.device, self.tokenizer)
        else:
            self.model = load_shapes(self.reference)
        self.max_tokens = self.card.max_tokens
        self.threshold = self.card.threshold
        self.types = self.card.types
        self.mixed = MixedModels(linear_layers(self.model))
        self.engine: Engine = self._engine()
        self.fingerprint = self._fingerprint()
        self._statistics: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> CausalBackbone:
        """The backbone in a folder that holds a ``base.json``."""
        return cls(folder, device)

    def _engine(self) -> Engine:
        return LocalEngine(self.model, self.tokenizer, self.mixed, self.prompt, self.card.max_new_tokens)

    def only(self, models: Collection[str]) -> Self:
        other = super().only(models)
        other.engine = self.engine.over(other.mixed) if isinstance(self.engine, LocalEngine) else self.engine
        return other

    @classmethod
    def create_base(cls, folder: Path, model: str, *, prompt: str | None = None, four_bit: bool = False) -> None:
        create_base(folder, model, prompt=prompt or DEFAULT_PROMPT, four_bit=four_bit)

    @classmethod
    def model_folder(cls, path: Path) -> Path:
        return base_from_gguf(path) if is_gguf(str(path)) else path

    @classmethod
    def prompts(cls) -> Sequence[str]:
        return prompt_names()

    @classmethod
    def read_prompt(cls, name: str) -> Prompt:
        return load_prompt(name)

    def _fingerprint(self) -> str:
        """Digest of the model and of the prompt, whose every change may change an answer.

        A model in a folder is told by its tensors and configuration, one of the hub by its id and commit, one with an
        adapter of the base's own by what was fused.
        """
        folder = Path(self.reference)
        if self.card.adapter is not None:
            model = folder.name
        elif folder.is_dir():
            model = checkpoint_digest(folder)
        else:
            model = f"{self.reference}@{getattr(self.model.config, '_commit_hash', None)}"
        return hashlib.sha256(repr([self.family, model, self.prompt.model_dump()]).encode()).hexdigest()

    # -- experts and task models --------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> str:
        return self.reference

    @property
    def has_own_adapter(self) -> bool:
        return self.card.adapter is not None

    @classmethod
    def recipe(cls) -> type[Recipe]:
        return Recipe

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        from samner.backbones.language_model.training.examples import in_windows
        from samner.backbones.language_model.training.trainer import train_adapter

        recipe, texts = Recipe.of(options), in_windows(data, self.tokenizer, self.max_tokens)
        parts = (self.model, self.tokenizer, self.prompt, texts, recipe, out)
        outcome = train_adapter(*parts, base=self.fingerprint, run=run, resume=resume)
        precision = str(fastest_dtype(str(self.device)))
        return {"recipe": recipe.model_dump(), "outcome": asdict(outcome), "precision": precision}

    @classmethod
    def dry_run(cls, data: TrainingData, options: Mapping[str, Any], base: Path | PlannedBase) -> DryRun:
        from samner.backbones.language_model.training.dry_run import dry_run

        recipe = Recipe.of(options)
        if isinstance(base, PlannedBase):
            model = str(base_from_gguf(Path(base.model))) if is_gguf(base.model) else base.model
            return dry_run(model, load_prompt(base.prompt), data, recipe, architecture=base.architecture)
        card = BaseCard.read(base)
        return dry_run(card.model_reference(base), load_prompt(card.prompt_reference(base)), data, recipe)

    # -- asking -------------------------------------------------------------------------------------------------------

    @property
    def statistics(self) -> Mapping[str, Counter[str]]:
        return self._statistics

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        words = token_words(texts, for_texts(self.tokenizer, texts))
        return [Tokens(text, its) for text, its in zip(texts, words, strict=True)]

    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        answers = ask(
            self.engine,
            self.prompt,
            [tokens.text for tokens in texts],
            types,
            models,
            threshold,
            constrained=self.card.constrained,
            statistics=counts,
        )
        with _COUNTING:
            for model, its in counts.items():
                self._statistics[model].update(its)
        return answers
