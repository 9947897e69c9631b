"""The token-classifying mode of causal language models behind the backbone interface."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from samner.backbones.language_model.gguf import base_from_gguf
from samner.backbones.language_model.loading import checkpoint_digest, load_tokenizer, with_model_errors
from samner.backbones.language_model.token_classification.inputs import Reader
from samner.backbones.language_model.token_classification.network import Heads, predict
from samner.backbones.mixed_batch import MixedBackbone, MixedModels, give_back
from samner.backbones.training import TrainingData, TrainingRecipe
from samner.display import reason
from samner.entities import Entity, EntityType
from samner.errors import HubError, ModelError
from samner.files import inside, read_json, sha256, write_json, writing_tensors
from samner.hub import download
from samner.precision import fastest_dtype, precision
from samner.references import KNOWN, check_reference, located
from samner.settings import Settings, validated
from samner.spans import ROLES
from samner.words import Tokens

FAMILY: Literal["token_classification"] = "token_classification"
WEIGHTS = "base.safetensors"
_MODEL = "model"

MAX_TYPES = 24
"""Types asked for at once: the base was taught with lists about as long."""


# Of many kinds, to see which columns of the states are always far larger than others.
_SOME_TYPES = ("person", "place", "organization", "date")
_SOME_TEXTS = (
    "The quick brown fox jumps over the lazy dog near Berlin on 3 May 2021.",
    "Acme Corp. paid $3 million to Jane Doe, a chemist at the University of Oslo.",
    "remind me to call mom at 5 pm tomorrow",
    "p53 binds DNA in HeLa cells (Fig. 2).",
)


class Weights(Settings):
    """A file of tensors beside the card, and its SHA-256."""

    file: str = WEIGHTS
    sha256: str


class BaseCard(Settings):
    """``base.json``: a causal language model, what was added to it, and how it is asked.

    Args:
        format: Of this file.
        family: Of the base.
        model: The language model: a name in ``samner.references.KNOWN``, a folder beside the card, or a hub id.
        weights: The heads, and the base's own LoRA adapter, which is fused when it is loaded.
        scale: Of that adapter's product.
        threshold: The score from which an entity counts.
        max_tokens: The most sub-tokens of a text that are read at once; longer texts are read in windows.
        types: Prompts of the types the base was taught, by data set.
        data: Data sets with licences.
        training: How the base was taught.
    """

    format: Literal[1] = 1
    family: Literal["token_classification"] = FAMILY
    model: str = Field(min_length=1)
    weights: Weights
    scale: float = Field(gt=0)
    threshold: float = Field(gt=0, lt=1)
    max_tokens: int = Field(192, gt=0)
    types: Mapping[str, list[str]] = {}
    data: tuple[dict[str, Any], ...] = ()
    training: Mapping[str, Any] = {}


class TokenClassifier(MixedBackbone):
    """A causal language model, the adapter and heads that make it classify words, and the experts over it.

    Args:
        folder: Holds ``base.json`` and what that refers to.
        device: A torch device name.

    Attributes:
        model: The language model without its own head, of transformers.
        heads: On its states.

    Raises:
        ModelError: If something is missing or damaged; it says how to get the language model where that is missing.
    """

    family: ClassVar[str] = FAMILY

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        place = folder / "base.json"
        self.card = validated(BaseCard, read_json(place), str(place))
        self.device = torch.device(device)
        path = inside(folder, self.card.weights.file)
        if not path.is_file():
            raise ModelError(f"{path}: missing")
        if sha256(path) != self.card.weights.sha256:
            raise ModelError(f"{path}: damaged, its SHA-256 is not the one in base.json")
        checkpoint = _checkpoint(self.card.model, folder)
        self.tokenizer = load_tokenizer(str(checkpoint))
        self.model = _load(str(checkpoint), self.device)
        try:
            tensors = load_file(path, device=device)
            width = tensors["heads.words.weight"].shape[0] // len(ROLES)
            self.heads = Heads(self.model.config.hidden_size, width).to(self.device)
            add_own(self.model, self.heads, tensors, self.card.scale)
        except (SafetensorError, RuntimeError, KeyError, AttributeError) as error:
            raise ModelError(f"{path}: not the weights of a base over {self.card.model} ({reason(error)})") from error
        self.reader = Reader(self.tokenizer)
        linears = {name: m for name, m in self.model.named_modules() if isinstance(m, nn.Linear)}
        for layer in linears.values():
            layer.to(fastest_dtype(device))
        _narrow(self.model.get_input_embeddings(), fastest_dtype(device))
        # what stays as it was loaded lies in the mapped file, which would be held whole
        for parameter in self.model.parameters():
            parameter.data = parameter.data.clone() if parameter.dtype is torch.float32 else parameter.data
        self.mixed = MixedModels(linears)
        if precision(device) == "int8":
            self.mixed.quantize(self._read_something)
        give_back()  # what the weights took in float32
        self.max_tokens = self.card.max_tokens
        self.threshold = self.card.threshold
        self.types = self.card.types
        digests = [self.family, checkpoint_digest(checkpoint), self.card.weights.sha256, self.card.scale]
        self.fingerprint = hashlib.sha256(repr(digests).encode()).hexdigest()

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> TokenClassifier:
        """The backbone in a folder that holds a ``base.json``."""
        return cls(folder, device)

    # -- experts ------------------------------------------------------------------------------------------------------

    @classmethod
    def recipe(cls) -> type[TrainingRecipe]:
        from samner.backbones.language_model.token_classification.training import Recipe

        return Recipe

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        from samner.backbones.language_model.token_classification.training import Recipe, train_adapter

        recipe = Recipe.of(options)
        outcome = train_adapter(
            self.model, self.heads, self.reader, data, recipe, out, base_name=self.card.model, run=run, resume=resume
        )
        return {"recipe": recipe.model_dump(), "outcome": asdict(outcome)}

    def save_fused(self, name: str, folder: Path) -> None:
        state = self.model.state_dict()
        for module, delta in self.task_vectors(name).items():
            state[f"{module}.weight"] = state[f"{module}.weight"].float() + delta
        with writing_tensors(folder / _MODEL):
            self.model.save_pretrained(folder / _MODEL, state_dict={key: t.float() for key, t in state.items()})
        self.tokenizer.save_pretrained(folder / _MODEL)
        save_base_weights(folder / WEIGHTS, self.heads, {})
        kept = self.card.model_dump(mode="json", exclude={"format", "weights", "model", "types"})
        types = {**self.types, name: list(self.mixed.types(name))}
        write_card(folder, **kept, model=_MODEL, types=types)

    # -- asking -------------------------------------------------------------------------------------------------------

    def _read_something(self) -> None:
        texts, types = self.tokenize(_SOME_TEXTS), [EntityType(name) for name in _SOME_TYPES]
        predict(self.model, self.heads, self.reader, texts, types, 1, 0.5)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return self.reader.tokenize(texts)

    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        def rows(texts: int) -> AbstractContextManager[None]:
            return self.mixed.rows([model for model in models for _ in range(texts)])

        result: dict[str, list[list[Entity]]] = {model: [[] for _ in texts] for model in models}
        for first in range(0, len(types), MAX_TYPES):
            group = types[first : first + MAX_TYPES]
            found = predict(self.model, self.heads, self.reader, texts, group, len(models), threshold, rows)
            for model, answers in zip(models, found, strict=True):
                for its, entities in zip(result[model], answers, strict=True):
                    its.extend(entities)
        return result


def add_own(model: Any, heads: Heads, tensors: Mapping[str, Tensor], scale: float) -> None:
    """Set the heads, and fuse a base's own adapter into the language model.

    Args:
        model: The language model without its own head, in float32.
        heads: On its states.
        tensors: ``heads.<name>``, and factors named as PEFT saves them.
        scale: Of the product of two factors.
    """
    heads.load_state_dict({n.removeprefix("heads."): t.float() for n, t in tensors.items() if n.startswith("heads.")})
    heads.requires_grad_(False)
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            b = tensors[name.replace("lora_A", "lora_B")]
            model.get_submodule(module).weight.data += scale * (b.float() @ a.float())


def save_base_weights(path: Path, heads: Heads, own: Mapping[str, Tensor]) -> None:
    """Write the heads and the base's own adapter, named as PEFT names it, in half precision."""
    tensors = {**own, **{f"heads.{name}": value for name, value in heads.state_dict().items()}}
    with writing_tensors(path):
        save_file({n: t.detach().half().cpu().contiguous() for n, t in tensors.items()}, path)


def write_card(folder: Path, **fields: Any) -> None:
    """Write ``base.json`` beside the weights; the fields are those of ``BaseCard`` but for format and weights.

    Raises:
        SamnerError: If a field is not as it must be.
    """
    weights = {"file": WEIGHTS, "sha256": sha256(folder / WEIGHTS)}
    card = validated(BaseCard, {**fields, "weights": weights}, str(folder / "base.json"))
    write_json(folder / "base.json", card.model_dump(mode="json"))


def _checkpoint(name: str, folder: Path) -> Path:
    """The folder with the language model in safetensors."""
    beside = inside(folder, name)
    if beside.is_dir():
        return beside
    if name in KNOWN:
        path = located(name)
        return base_from_gguf(path) if path.is_file() else path
    try:
        return download(check_reference(name, folder / "base.json"))
    except HubError as error:
        raise ModelError(str(error)) from error


def _narrow(embeddings: nn.Module, dtype: torch.dtype) -> None:
    """Hold embeddings in a type, and let them answer in float32: what is added up over the layers stays in that."""
    embeddings.to(dtype)
    embeddings.register_forward_hook(_in_float32)


def _in_float32(module: nn.Module, given: Any, states: Tensor) -> Tensor:
    return states.float()


def _load(reference: str, device: torch.device) -> Any:
    from transformers import AutoModel

    # written out, attention is as fast on a CPU as torch's fused kernel, and trains faster: that one's backward pass
    # in bfloat16 is slow
    attention = "eager" if device.type == "cpu" else "sdpa"
    arguments = {"attn_implementation": attention, "dtype": torch.float32, "use_safetensors": True}
    model = with_model_errors(reference, AutoModel.from_pretrained, **arguments).to(device).eval()
    model.requires_grad_(False)
    return model
