"""The encoder family behind the backbone interface."""

from __future__ import annotations

import copy
import hashlib
import itertools
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call

from samner.backbones.base import BASE, Backbone, TrainingData
from samner.backbones.encoder.decode import decode
from samner.backbones.encoder.network import Heads, word_vectors
from samner.backbones.encoder.recipe import Recipe
from samner.backbones.encoder.tokens import Tokens, WordTokenizer, collate, repeat
from samner.embedding import MINILM, sentence_encoder, sentence_encoder_path
from samner.entities import Entity, EntityType
from samner.errors import ModelError
from samner.files import inside, read_json, sha256, write_json
from samner.references import check_reference
from samner.windows import Word

WEIGHTS = "base.safetensors"
_LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")
_BATCH_TOKENS = 4096


class EncoderBackbone(Backbone):
    """A sentence encoder, the trained layers that replace its own, and the heads.

    Args:
        reference: Where the sentence encoder comes from; see ``samner.embedding.sentence_encoder``.
        device: A torch device name.

    Attributes:
        novelty: What the logits of a type gain for each point of ``min(1 - c, c)``, with the cosine c to the most
            similar type that the model was taught: of types that it only half knows it is sure too seldom, and what
            it says of types like none is not worth raising.
    """

    family: ClassVar[str] = "encoder"

    def __init__(self, reference: str = MINILM, device: str = "cpu") -> None:
        self.reference = reference
        self.device = torch.device(device)
        self._sentences = sentence_encoder(reference, device)
        transformer = self._sentences[0]
        self.encoder: Any = copy.deepcopy(transformer.auto_model).eval()
        self.encoder.requires_grad_(False)
        self.tokenizer = WordTokenizer(self._sentences.tokenizer)
        self.heads = Heads(self.encoder.config.hidden_size).to(self.device).eval()
        self.heads.requires_grad_(False)
        limit = int(self._sentences.max_seq_length or self.encoder.config.max_position_embeddings)
        self.max_tokens = limit - len(self.tokenizer.prefix) - len(self.tokenizer.suffix)
        self.threshold = 0.5
        self.novelty = 0.0
        self.types: dict[str, list[str]] = {}
        self.data: list[Any] = []
        self._vectors: dict[str, Tensor] = {}
        self._peft: Any = None
        self._counter = itertools.count()
        self._experts: dict[str, str] = {}
        self._taught: dict[str, tuple[str, ...]] = {}
        self._task_models: dict[str, dict[str, Tensor]] = {}
        self._linears = {
            name: module
            for name, module in self.encoder.named_modules()
            if isinstance(module, nn.Linear) and not name.startswith("pooler")
        }
        self.fingerprint = self._fingerprint()

    # -- at rest ----------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> EncoderBackbone:
        """Read a base that ``save`` wrote.

        Raises:
            ModelError: If the folder is incomplete or damaged, or the sentence encoder is not the one it was made on.
        """
        card = read_json(folder / "base.json")
        try:
            reference, encoder_sha = card["sentence_encoder"]["reference"], card["sentence_encoder"]["sha256"]
            file, digest = card["weights"]["file"], card["weights"]["sha256"]
            threshold, novelty = float(card["threshold"]), float(card["novelty"])
            types = {str(name): [str(prompt) for prompt in prompts] for name, prompts in card["types"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{folder / 'base.json'}: not the card of an encoder base ({error!r})") from error
        backbone = cls(check_reference(reference, folder / "base.json"), device)
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
            raise ModelError(f"{path}: not the weights of a base on {reference} ({_line(error)})") from error
        backbone.threshold, backbone.novelty = threshold, novelty
        backbone.types = types
        backbone.data = list(card.get("data", ()))
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
        try:
            save_file({k: v.to(dtype).contiguous() for k, v in self._tensors().items()}, folder / WEIGHTS)
        except SafetensorError as error:  # a full disk, for one
            raise ModelError(f"{folder / WEIGHTS}: cannot be written ({_line(error)})") from error
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
        for module, delta in self._task_models[name].items():
            fused._linears[module].weight += delta
        fused.threshold, fused.novelty = self.threshold, self.novelty
        fused.types = self.types | {name: list(self._taught[name])}
        fused.save(folder, card={"data": self.data})  # what taught it, and under which licences

    def _tensors(self) -> dict[str, Tensor]:
        """What ``save`` writes and ``_set`` takes."""
        tensors = {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        return tensors | {f"encoder.{k}": v for k, v in self._trained()}

    def _set(self, tensors: Mapping[str, Tensor]) -> None:
        state = {k: v.float() for k, v in tensors.items()}
        self.heads.load_state_dict({k.removeprefix("heads."): v for k, v in state.items() if k.startswith("heads.")})
        encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
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
        """The base's tensors that differ from the sentence encoder's own, by name, whatever experts are on it."""
        own = self._sentences[0].auto_model.state_dict()
        state = {name.replace(".base_layer.", "."): value for name, value in self.encoder.state_dict().items()}
        return [
            (name, state[name])
            for name in sorted(own)
            if state[name].is_floating_point() and not torch.equal(state[name], own[name])
        ]

    # -- experts and task models --------------------------------------------------------------------------------------

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        return {name: (module.out_features, module.in_features) for name, module in self._linears.items()}

    def add_expert(self, name: str, folder: Path, types: Sequence[str] = ()) -> None:
        from peft import PeftModel

        self._check_free(name)
        self._check_adapter(folder)
        adapter = f"expert{next(self._counter)}"  # PEFT allows no dots in a name
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self.encoder, str(folder), adapter_name=adapter)
            else:
                self._peft.load_adapter(str(folder), adapter_name=adapter)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            self._drop(adapter)
            raise ModelError(f"{folder}: not an adapter that fits this base ({_line(error)})") from error
        self._peft.eval()
        self._experts[name] = adapter
        self._taught[name] = tuple(types)

    def _check_adapter(self, folder: Path) -> None:
        """Refuse an adapter whose tensors do not fit, before PEFT, which would find out halfway, touches the base."""
        path = folder / "adapter_model.safetensors"
        shapes = self.module_shapes()
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be read ({_line(error)})") from error
        for key, shape in tensors.items():
            match = _LORA.fullmatch(key)
            if match is None or match["module"] not in shapes:
                raise ModelError(f"{path}: holds {key}, which is not LoRA on a linear layer of this base")
            out, into = shapes[match["module"]]
            fits = shape[1:] == (into,) if match["factor"] == "A" else shape[:1] == (out,)
            if not fits:
                raise ModelError(f"{path}: {key} is {shape}, this base has {(out, into)}")

    def add_task_model(self, name: str, deltas: Mapping[str, Tensor], types: Sequence[str] = ()) -> None:
        self._check_free(name)
        shapes = self.module_shapes()
        for module, delta in deltas.items():
            if shapes.get(module) != tuple(delta.shape):
                have = shapes.get(module, "no such module")
                raise ModelError(f"the task vector of {module!r} is {tuple(delta.shape)}, this base has {have}")
        self._task_models[name] = {k: v.to(self.device, torch.float32) for k, v in deltas.items()}
        self._taught[name] = tuple(types)

    def task_vectors(self, name: str) -> Mapping[str, Tensor]:
        return self._task_models[name]

    @property
    def models(self) -> Collection[str]:
        return self._experts.keys() | self._task_models.keys()

    def remove(self, name: str) -> None:
        self._task_models.pop(name, None)
        self._taught.pop(name, None)
        if name in self._experts:
            self._drop(self._experts.pop(name))

    def _drop(self, adapter: str) -> None:
        """Take an adapter off, and after the last one PEFT's layers too: without adapters they do not work."""
        if self._experts:
            with warnings.catch_warnings():  # that another adapter is active now: which one is does not matter here
                warnings.simplefilter("ignore")
                if adapter in self._peft.peft_config:
                    self._peft.delete_adapter(adapter)
            return
        for name, module in list(self.encoder.named_modules()):
            if hasattr(module, "base_layer"):
                self.encoder.set_submodule(name, module.base_layer)
        vars(self.encoder).pop("peft_config", None)
        self._peft = None

    def _check_free(self, name: str) -> None:
        if name == BASE or name in self.models:
            raise ModelError(f"the name {name!r} is taken on this base")

    @classmethod
    def recipe(cls) -> type[Recipe]:
        return Recipe

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        from samner.backbones.encoder.training import train_expert

        if self._peft is not None:
            raise ModelError("an expert is trained on a base that holds no others: load the pool anew")
        recipe = Recipe.of(options)
        outcome = train_expert(self, data, recipe, out, run=run, resume=resume)
        return {"recipe": recipe.model_dump(), "outcome": asdict(outcome)}

    def known_types(self) -> list[str]:
        return sorted({prompt for prompts in self.types.values() for prompt in prompts})

    # -- asking -------------------------------------------------------------------------------------------------------

    def words(self, texts: Sequence[str]) -> list[tuple[Word, ...]]:
        return [tokens.words for tokens in self.tokenizer(texts)]

    def type_vectors(self, prompts: Sequence[str]) -> Tensor:
        """L x H unit embeddings of type prompts by the untouched sentence encoder; cached."""
        new = [p for p in dict.fromkeys(prompts) if p not in self._vectors]
        if new:
            vectors = self._sentences.encode(new, normalize_embeddings=True, show_progress_bar=False)
            self._vectors.update(zip(new, torch.from_numpy(np.asarray(vectors)).to(self.device), strict=True))
        return torch.stack([self._vectors[p] for p in prompts])

    def predict(
        self, texts: Sequence[str], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        tokens = self.tokenizer(texts)
        vectors = self.type_vectors([t.prompt for t in types])
        bonus = {model: self._bonus(model, vectors) for model in models}
        result: dict[str, list[list[Entity]]] = {model: [[] for _ in texts] for model in models}
        for rows in _batches([t.cost for t in tokens], _BATCH_TOKENS):
            group = [tokens[i] for i in rows]
            for model, words in self._states(group, models):
                probabilities = (self.heads(words, vectors) + bonus[model]).sigmoid()
                _decode(probabilities, rows, tokens, types, threshold, result[model])
        return result

    def _bonus(self, model: str, vectors: Tensor) -> Tensor:
        """L x 1: what a model's logits of the types with these L vectors gain by their novelty."""
        taught = [*self.known_types(), *self._taught.get(model, ())]
        if not self.novelty or not taught:
            return vectors.new_zeros(len(vectors), 1)
        nearest = (vectors @ self.type_vectors(taught).T).max(dim=1).values.clamp(0, 1)
        return self.novelty * torch.minimum(1 - nearest, nearest).unsqueeze(1)

    def run(
        self, encoder: Any, texts: Sequence[str], types: Sequence[EntityType], threshold: float
    ) -> list[list[Entity]]:
        """Candidate entities by an encoder given as such, for instance one in training; no type is novel to it."""
        tokens = self.tokenizer(texts)
        vectors = self.type_vectors([t.prompt for t in types])
        result: list[list[Entity]] = [[] for _ in texts]
        with torch.no_grad():
            for rows in _batches([t.cost for t in tokens], _BATCH_TOKENS):
                words = word_vectors(encoder, collate([tokens[i] for i in rows], self.tokenizer).to(self.device))
                _decode(self.heads(words, vectors).sigmoid(), rows, tokens, types, threshold, result)
        return result

    @torch.inference_mode()
    def _states(self, tokens: Sequence[Tokens], models: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Word vectors of the texts by each model. The base and all experts share one mixed-adapter batch."""
        batch = collate(tokens, self.tokenizer).to(self.device)
        mixed = [model for model in models if model not in self._task_models]
        if mixed and self._peft is None:
            yield from ((model, word_vectors(self.encoder, batch)) for model in mixed)
        elif mixed:
            names = ["__base__" if model == BASE else self._experts[model] for model in mixed for _ in tokens]
            repeated = repeat(batch, len(mixed))
            words = word_vectors(self._peft, repeated, adapter_names=names)
            yield from zip(mixed, words.split(len(tokens)), strict=True)
        for model in models:
            if model in self._task_models:
                with self._plain():
                    yield model, word_vectors(self._patched(model), batch)

    def _plain(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._peft is None else self._peft.disable_adapter()

    def _patched(self, model: str) -> Any:
        """The encoder with a task model's weights in place of its own, without a copy of the rest."""
        weights = {}
        for module, delta in self._task_models[model].items():
            linear = self._linears[module]
            wrapped = self.encoder.get_submodule(module) is not linear  # by PEFT, where an expert adapts the module
            weights[module + (".base_layer.weight" if wrapped else ".weight")] = linear.weight + delta
        return lambda **inputs: functional_call(self.encoder, weights, (), inputs)


def _decode(
    probabilities: Tensor,
    rows: Sequence[int],
    tokens: Sequence[Tokens],
    types: Sequence[EntityType],
    threshold: float,
    result: list[list[Entity]],
) -> None:
    """Put the entities of a batch, whose texts are those of these rows, into the result."""
    values = probabilities.cpu().numpy()
    for row, i in enumerate(rows):
        result[i] = decode(values[row, : len(tokens[i].words)], tokens[i].words, types, threshold)


def _batches(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of texts with tokens, longest first, in batches of at most ``budget`` padded tokens."""
    order = sorted((i for i, cost in enumerate(costs) if cost), key=lambda i: -costs[i])
    batches: list[list[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * costs[batches[-1][0]] > budget:
            batches.append([])
        batches[-1].append(i)
    return batches


def _line(error: Exception) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@lru_cache(maxsize=4)  # as long as the encoder itself is kept, see sentence_encoder
def _encoder_sha(reference: str) -> str:
    path = Path(sentence_encoder_path(reference)) / "model.safetensors"
    return sha256(path) if path.is_file() else f"hub:{reference}"
