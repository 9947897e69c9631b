"""The encoder family behind the backbone interface."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from samner.backbones.encoder.network import Heads, word_vectors
from samner.backbones.encoder.tokens import WordTokenizer, collate, repeat
from samner.backbones.mixed_batch import MixedBackbone, MixedModels
from samner.backbones.training import TrainingData, TrainingRecipe
from samner.display import reason
from samner.embedding import MINILM, embed_names, sentence_encoder, sentence_encoder_path
from samner.entities import Entity, EntityType
from samner.errors import ModelError
from samner.files import check_format, inside, read_json, sha256, write_json, writing_tensors
from samner.precision import fastest_dtype
from samner.references import check_reference
from samner.spans import decode
from samner.windows import batches
from samner.words import Tokens

WEIGHTS = "base.safetensors"
_BATCH_TOKENS = {"cpu": 1024, "other": 16384}  # padded, of all models together; on a CPU more do not fit its cache


class EncoderBackbone(MixedBackbone):
    """A sentence encoder, the trained layers that replace its own, and the heads.

    Args:
        reference: Where the sentence encoder comes from; see ``samner.embedding.sentence_encoder``.
        device: A torch device name.
        dtype: What texts are read in; float32 for a base that is to be trained.

    Attributes:
        encoder: The trained encoder, in float32: what is saved, exported and trained over.
        reading: The same in the type that texts are read in, with the experts and task models on its layers.
        novelty: What the logits of a type gain for each point of ``min(1 - c, c)``, with the cosine c to the most
            similar type that the model was taught: of types that it only half knows it is sure too seldom, and what
            it says of types like none is not worth raising.
    """

    family: ClassVar[str] = "encoder"

    def __init__(self, reference: str = MINILM, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.reference = reference
        self.device = torch.device(device)
        sentences = sentence_encoder(reference, device)
        self.encoder: Any = copy.deepcopy(sentences.transformer)
        self.encoder.requires_grad_(False)
        self.tokenizer = WordTokenizer(sentences.tokenizer, sentences.pad_id)
        self.heads = Heads(sentences.width).to(self.device).eval()
        self.heads.requires_grad_(False)
        self.max_tokens = sentences.max_tokens - len(self.tokenizer.prefix) - len(self.tokenizer.suffix)
        self.threshold = 0.5
        self.novelty = 0.0
        self.types: dict[str, list[str]] = {}
        self.taught: dict[str, Any] = {}
        self.data: list[Any] = []
        self.reading: Any = self.encoder if dtype is torch.float32 else copy.deepcopy(self.encoder).to(dtype)
        self.mixed = MixedModels(_linears(self.reading))
        self.fingerprint = self._fingerprint()

    # -- at rest ----------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> EncoderBackbone:
        """Read a base that ``save`` wrote.

        Raises:
            ModelError: If the folder is incomplete or damaged, or the sentence encoder is not the one it was made on.
        """
        card = read_json(folder / "base.json")
        check_format(folder / "base.json", card)
        try:
            reference, encoder_sha = card["sentence_encoder"]["reference"], card["sentence_encoder"]["sha256"]
            file, digest = card["weights"]["file"], card["weights"]["sha256"]
            threshold, novelty = float(card["threshold"]), float(card["novelty"])
            types = {str(name): [str(prompt) for prompt in prompts] for name, prompts in card["types"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{folder / 'base.json'}: not the card of an encoder base ({error!r})") from error
        backbone = cls(check_reference(reference, folder / "base.json"), device, fastest_dtype(device))
        if encoder_sha != _encoder_sha(reference):
            raise ModelError(f"{folder}: was made on another release of the sentence encoder {reference}")
        path = inside(folder, file)
        if not path.is_file():
            raise ModelError(f"{path}: missing")
        if sha256(path) != digest:
            raise ModelError(f"{path}: damaged, its SHA-256 is not the one in base.json")
        try:
            backbone._set(load_file(path, device=device))
        except (SafetensorError, RuntimeError) as error:
            raise ModelError(f"{path}: not the weights of a base on {reference} ({reason(error)})") from error
        backbone.threshold, backbone.novelty = threshold, novelty
        backbone.types = types
        backbone.taught, backbone.data = card.get("taught", {}), card.get("data", [])  # the pool checks them
        backbone.fingerprint = backbone._fingerprint()
        return backbone

    def save(self, folder: Path, dtype: torch.dtype = torch.float32, card: Mapping[str, Any] | None = None) -> None:
        """Write ``base.json`` and the tensors that differ from the sentence encoder's own.

        Args:
            folder: Made if missing.
            dtype: Of the stored tensors; ``torch.float16`` halves the file.
            card: More entries for ``base.json``, for instance data sets and licences.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with writing_tensors(folder / WEIGHTS):
            save_file({k: v.to(dtype).contiguous() for k, v in self._tensors().items()}, folder / WEIGHTS)
        write_json(
            folder / "base.json",
            {
                "format": 1,
                "family": self.family,
                "sentence_encoder": {"reference": self.reference, "sha256": _encoder_sha(self.reference)},
                "weights": {"file": WEIGHTS, "sha256": sha256(folder / WEIGHTS)},
                "threshold": self.threshold,
                "novelty": self.novelty,
                "types": self.types,
                **(card or {}),
            },
        )

    def save_fused(self, name: str, folder: Path) -> None:
        fused = type(self)(self.reference, str(self.device))
        fused._set(self._tensors())
        linears = _linears(fused.encoder)
        for module, delta in self.task_vectors(name).items():
            linears[module].weight += delta
        fused.threshold, fused.novelty = self.threshold, self.novelty
        fused.types = self.types | {name: list(self.mixed.types(name))}
        # what taught it, under which licences, and which types the warning knows
        fused.save(folder, card={"data": self.data, "taught": self.taught})

    def save_onnx(
        self, parts: Mapping[str, str], types: Sequence[EntityType], folder: Path, *, int8: bool = False
    ) -> None:
        from samner.backbones.encoder.onnx import save_onnx

        save_onnx(self, parts, types, folder, int8=int8)

    def _tensors(self) -> dict[str, Tensor]:
        """What ``save`` writes and ``_set`` takes."""
        tensors = {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        return tensors | {f"encoder.{k}": v for k, v in self._trained()}

    def _set(self, tensors: Mapping[str, Tensor]) -> None:
        state = {k: v.float() for k, v in tensors.items()}
        self.heads.load_state_dict({k.removeprefix("heads."): v for k, v in state.items() if k.startswith("heads.")})
        encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
        if self.reading is not self.encoder:
            self.reading.load_state_dict(encoder, strict=False)
        result = self.encoder.load_state_dict(encoder, strict=False)
        if result.unexpected_keys:
            raise ModelError(f"{WEIGHTS} holds {result.unexpected_keys[0]!r}, which the sentence encoder lacks")

    def _fingerprint(self) -> str:
        """Digest of every number that decides what this base answers, as held in memory."""
        digest = hashlib.sha256(f"{self.family} {_encoder_sha(self.reference)}".encode())
        for name, value in [*self._trained(), *sorted(self.heads.state_dict().items())]:
            digest.update(name.encode() + value.cpu().half().numpy().tobytes())
        return digest.hexdigest()

    def _trained(self) -> list[tuple[str, Tensor]]:
        """The base's tensors that differ from the sentence encoder's own, by name."""
        own = sentence_encoder(self.reference, str(self.device)).transformer.state_dict()
        state = self.encoder.state_dict()
        return [
            (name, state[name])
            for name in sorted(own)
            if state[name].is_floating_point() and not torch.equal(state[name], own[name])
        ]

    # -- experts ------------------------------------------------------------------------------------------------------

    @classmethod
    def recipe(cls) -> type[TrainingRecipe]:
        from samner.backbones.encoder.training import Recipe

        return Recipe

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        from samner.backbones.encoder.training import Recipe, train_expert

        recipe = Recipe.of(options)
        outcome = train_expert(self, data, recipe, out, run=run, resume=resume)
        return {"recipe": recipe.model_dump(), "outcome": asdict(outcome)}

    # -- asking -------------------------------------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return self.tokenizer(texts)

    def type_vectors(self, prompts: Sequence[str]) -> Tensor:
        """L x H unit embeddings of type prompts by the untouched sentence encoder; cached."""
        return torch.from_numpy(embed_names(prompts, self.reference, str(self.device))).to(self.device)

    def read(
        self,
        texts: Sequence[Tokens],
        types: Sequence[EntityType],
        models: Sequence[str],
        threshold: float,
        *,
        novelty: float | None = None,
    ) -> dict[str, list[list[Entity]]]:
        """See ``Backbone.read``; ``novelty`` is the backbone's own by default."""
        vectors = self.type_vectors([t.prompt for t in types])
        weight = self.novelty if novelty is None else novelty
        bonus = torch.stack([weight * self._novelty(model, vectors) for model in models])
        result: dict[str, list[list[Entity]]] = {model: [[] for _ in texts] for model in models}
        budget = _BATCH_TOKENS["cpu" if self.device.type == "cpu" else "other"]
        for rows in batches([tokens.cost * len(models) for tokens in texts], budget):
            group = [texts[i] for i in rows]
            with torch.inference_mode(), self.mixed.rows([model for model in models for _ in rows]):
                words = word_vectors(self.reading, repeat(collate(group, self.tokenizer).to(self.device), len(models)))
                logits = self.heads(words, vectors).unflatten(0, (len(models), len(rows)))
                values = (logits + bonus[:, None, None]).sigmoid_().cpu().numpy()
            for model, probabilities in zip(models, values, strict=True):
                for i, tokens, its in zip(rows, group, probabilities, strict=True):
                    result[model][i] = decode(its[: len(tokens.words)], tokens.words, types, threshold)
        return result

    def _novelty(self, model: str, vectors: Tensor) -> Tensor:
        """L x 1: how novel to a model the types with these L vectors are."""
        taught = [*self.known_types(), *self.mixed.types(model)]
        if not taught:
            return vectors.new_zeros(len(vectors), 1)
        nearest = (vectors @ self.type_vectors(taught).T).max(dim=1).values.clamp(0, 1)
        return torch.minimum(1 - nearest, nearest).unsqueeze(1)


def _linears(encoder: nn.Module) -> dict[str, nn.Linear]:
    """The layers that can be adapted."""
    return {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("pooler")
    }


@lru_cache(maxsize=4)  # as long as the encoder itself is kept, see sentence_encoder
def _encoder_sha(reference: str) -> str:
    path = Path(sentence_encoder_path(reference)) / "model.safetensors"
    return sha256(path) if path.is_file() else f"hub:{reference}"
