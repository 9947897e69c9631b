"""The causal-LM family behind the backbone interface."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from samner.backbones.base import Backbone, TrainingData
from samner.backbones.language_model.base_card import FAMILY, BaseCard, trusted, with_model_errors
from samner.backbones.language_model.engines.questions import Engine, LocalEngine
from samner.backbones.language_model.generation.ask import ask
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.backbones.language_model.words import token_words
from samner.backbones.mixed_batch import MixedModels
from samner.entities import Entity, EntityType
from samner.errors import ModelError
from samner.files import sha256
from samner.lora import LoraAdapter
from samner.windows import Word


class CausalBackbone(Backbone):
    """A causal language model that is asked for entities and answers in JSON.

    Args:
        folder: Holds ``base.json`` and what that refers to.
        device: A torch device name.

    Attributes:
        model: The language model, of transformers.
        tokenizer: Its tokenizer.
        prompt: How it is asked.
        card: What ``base.json`` says.

    Raises:
        ModelError: If the card, the model or its tokenizer cannot be read, or the model has no linear layers.
        SamnerError: If the prompt cannot be read.
    """

    family: ClassVar[str] = FAMILY

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.card = BaseCard.read(folder)
        self.device = torch.device(device)
        self.reference = self.card.model_reference(folder)
        self.prompt = load_prompt(self.card.prompt_reference(folder))
        self.tokenizer = load_tokenizer(self.reference)
        self.model = _load_model(self.reference, self.card, self.device, self.tokenizer)
        self.max_tokens = self.card.max_tokens
        self.threshold = self.card.threshold
        self.types = self.card.types
        self.mixed = MixedModels(linears_of(self.model, self.reference))
        self.engine: Engine = LocalEngine(
            self.model, self.tokenizer, self.mixed, self.prompt, self.card.max_new_tokens
        )
        self.fingerprint = self._fingerprint()
        self._statistics: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> CausalBackbone:
        """The backbone in a folder that holds a ``base.json``."""
        return cls(folder, device)

    def _fingerprint(self) -> str:
        """Digest of the model and of the prompt, whose every change may change an answer.

        A model in a folder is told by the SHA-256 of its configuration and weight files, one of the hub by its id and
        commit.
        """
        folder = Path(self.reference)
        if folder.is_dir():
            files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
            model = [[path.name, _digest(str(path), path.stat().st_size, path.stat().st_mtime_ns)] for path in files]
        else:
            model = [[self.reference, str(getattr(self.model.config, "_commit_hash", None))]]
        return hashlib.sha256(repr([self.family, model, asdict(self.prompt)]).encode()).hexdigest()

    # -- experts and task models --------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> str:
        return self.reference

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        return self.mixed.shapes

    def add_expert(self, name: str, folder: Path, types: Sequence[str] = ()) -> None:
        try:
            self.mixed.add_expert(name, LoraAdapter.load(folder))
        except ModelError as error:
            place = "" if str(folder) in str(error) else f"{folder}: "
            raise ModelError(f"{place}{error}") from error

    def add_task_model(self, name: str, deltas: Mapping[str, Tensor], types: Sequence[str] = ()) -> None:
        self.mixed.add_task_model(name, deltas)

    def task_vectors(self, name: str) -> Mapping[str, Tensor]:
        return self.mixed.deltas(name)

    @property
    def models(self) -> Collection[str]:
        return self.mixed.names

    def remove(self, name: str) -> None:
        self.mixed.remove(name)

    @classmethod
    def recipe_options(cls) -> dict[str, Any]:
        from samner.backbones.language_model.training.recipe import Recipe

        return asdict(Recipe())

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        from samner.backbones.language_model.training.recipe import Recipe
        from samner.backbones.language_model.training.trainer import train_expert

        recipe = Recipe.of(options)
        outcome = train_expert(self, data, recipe, out, run=run, resume=resume)
        return {"recipe": asdict(recipe), "outcome": asdict(outcome)}

    def known_types(self) -> list[str]:
        return sorted({prompt for prompts in self.types.values() for prompt in prompts})

    # -- asking -------------------------------------------------------------------------------------------------------

    @property
    def statistics(self) -> Mapping[str, Counter[str]]:
        return self._statistics

    def words(self, texts: Sequence[str]) -> list[tuple[Word, ...]]:
        return token_words(texts, self.tokenizer)

    def predict(
        self, texts: Sequence[str], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        return ask(
            self.engine,
            self.prompt,
            texts,
            types,
            models,
            threshold,
            constrained=self.card.constrained,
            statistics=self._statistics,
        )


def load_tokenizer(reference: str) -> Any:
    """The tokenizer of a model, which tells its tokens' places in a text and has a token that ends an answer.

    Raises:
        ModelError: If it cannot be read, or is not such a tokenizer.
    """
    from transformers import AutoTokenizer

    tokenizer = with_model_errors(reference, AutoTokenizer.from_pretrained, trust_remote_code=trusted())
    if not tokenizer.is_fast:
        raise ModelError(
            f"{reference}: its tokenizer is not of the tokenizers library (tokenizer.json), which is needed"
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{reference}: its tokenizer has no token that ends an answer (eos_token)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_model(reference: str, card: BaseCard, device: torch.device, tokenizer: Any) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    cpu = device.type == "cpu"
    arguments: dict[str, Any] = {
        "dtype": torch.float32 if card.dtype == "auto" and cpu else card.dtype,
        "device_map": str(device) if cpu or card.device_map is None else card.device_map,
        "trust_remote_code": trusted(),
        "use_safetensors": True,
    }
    if card.four_bit and not cpu:
        compute = torch.bfloat16 if card.dtype == "auto" else getattr(torch, card.dtype)
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
        )
    model = with_model_errors(reference, AutoModelForCausalLM.from_pretrained, **arguments).eval()
    model.requires_grad_(False)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    # of the model's own settings only what ends an answer: greedy decoding has no temperature and no penalties
    model.generation_config = GenerationConfig(
        eos_token_id=sorted({*ends, tokenizer.eos_token_id}), pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def linears_of(model: Any, reference: str) -> dict[str, nn.Linear]:
    """The linear layers that experts adapt: all but the one that makes the logits."""
    head = model.get_output_embeddings()
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    if not linears:
        raise ModelError(f"{reference}: {type(model).__name__} has no linear layers that LoRA could adapt")
    return linears


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int) -> str:
    """SHA-256 of a file, once for each state of it."""
    return sha256(Path(path))
