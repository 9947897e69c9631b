"""GLiNER2 models behind the backbone interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from samner.backbones.gliner2.base_card import WEIGHTS, BaseCard, create_base
from samner.backbones.gliner2.layers import attend_by_model, linear_layers, mind_positions, read_past
from samner.backbones.language_model.loading import checkpoint_digest
from samner.backbones.mixed_batch import MixedBackbone, MixedModels
from samner.backbones.training import TrainingData, TrainingRecipe
from samner.display import reason
from samner.entities import Entity, EntityType
from samner.errors import ModelError, SamnerError
from samner.files import copy_model, read_json, writing_tensors
from samner.windows import batches, read_windows
from samner.words import Tokens, Word, sound

_BATCH_WORDS = 2048  # of all models together, with the words of the types
_CHARACTERS = 32  # of a word that counts as one
_LONGEST = 256  # characters of a word that are read
_REMEMBERED = 50_000  # words with their sub-tokens


class Gliner2Backbone(MixedBackbone):
    """A GLiNER2 model and the experts and task models over it; it answers as gliner2 does.

    Args:
        folder: Holds ``base.json`` and what that refers to.
        device: A torch device name.

    Attributes:
        model: The model, of gliner2.
        card: What ``base.json`` says.

    Raises:
        ModelError: If gliner2 is not installed, or the checkpoint is missing, damaged or none of gliner2's.
    """

    family: ClassVar[str] = "gliner2"
    over_models: ClassVar[bool] = True

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.card = BaseCard.read(folder)
        self.device = torch.device(device)
        self.folder = self.card.checkpoint(folder)
        self.model = load_model(self.folder, device)
        self.max_tokens = self.card.max_words
        self.threshold = self.card.threshold
        self.types = self.card.types
        self.mixed = MixedModels(linear_layers(self.model))
        self._mixes = attend_by_model(self.model.encoder)
        encoder = {k: v for k, v in read_json(self.folder / "encoder_config" / "config.json").items() if k[0] != "_"}
        encoder.pop("transformers_version", None)
        digests = [self.family, checkpoint_digest(self.folder), json.dumps(encoder, sort_keys=True)]
        self.fingerprint = hashlib.sha256(repr(digests).encode()).hexdigest()

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Gliner2Backbone:
        """The backbone in a folder that holds a ``base.json``."""
        return cls(folder, device)

    @classmethod
    def create_base(cls, folder: Path, model: str, *, prompt: str | None = None, four_bit: bool = False) -> None:
        if prompt is not None or four_bit:
            raise SamnerError("--prompt and --four-bit are for language models, not for the gliner2 family")
        create_base(folder, model)

    # -- experts ------------------------------------------------------------------------------------------------------

    @classmethod
    def recipe(cls) -> type[TrainingRecipe]:
        from samner.backbones.gliner2.training import Recipe

        return Recipe

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        from samner.backbones.gliner2.training import Recipe, train_adapter

        recipe = Recipe.of(options)
        outcome = train_adapter(self, data, recipe, out, run=run, resume=resume)
        return {"recipe": recipe.model_dump(), "outcome": asdict(outcome)}

    def save_fused(self, name: str, folder: Path) -> None:
        copy_model(self.folder, folder)
        state = self.model.state_dict()
        past = read_past(self.model)
        for module, delta in self.task_vectors(name).items():
            if module not in past:
                weight = state[f"{module}.weight"]
                state[f"{module}.weight"] = weight.float() + delta.to(weight.device)
        with writing_tensors(folder / WEIGHTS):
            save_file({key: tensor.cpu().contiguous() for key, tensor in state.items()}, folder / WEIGHTS)
        types = {**self.types, name: list(self.mixed.types(name))}
        self.card.model_copy(update={"model": ".", "types": types}).write(folder)

    # -- asking -------------------------------------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        split = self.model.processor.word_splitter
        return [
            Tokens(text, tuple(Word(a, b, 1 + (b - a - 1) // _CHARACTERS) for _, a, b in split(text, lower=False)))
            for text in texts
        ]

    def predict(
        self,
        texts: Sequence[str],
        types: Sequence[EntityType],
        models: Sequence[str],
        threshold: float,
        on_done: Callable[[int], None] | None = None,
    ) -> dict[str, list[list[Entity]]]:
        return read_windows(self, texts, types, models, threshold, on_done, self.card.overlap)

    @torch.inference_mode()
    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        schema = schema_of(types)
        asked = sum(2 + len(t.prompt.split()) for t in types)
        result: dict[str, list[list[Entity]]] = {name: [[] for _ in texts] for name in models}
        for group in batches([asked + tokens.cost for tokens in texts], max(1, _BATCH_WORDS // len(result))):
            read = [_Text(texts[i]) for i in group]
            words = [text.read for text in read]
            states = self._states(words, schema, list(result))
            for name, its in states.items():
                with self.mixed.rows([name]):
                    answers = self.model.batch_extract(
                        words,
                        schema,
                        threshold=threshold,
                        include_confidence=True,
                        include_spans=True,
                        max_len=self.max_tokens,  # without the full stop that gliner2 puts after a full window
                        overlap_policy="allow",  # who asks chooses among what overlaps
                        hidden_states=its,
                    )
                for i, text, answer in zip(group, read, answers, strict=True):
                    result[name][i] = text.entities(answer.get("entities") or {})
        return result

    def _states(self, texts: Sequence[str], schema: Any, models: Sequence[str]) -> dict[str, list[Tensor]]:
        """By model, for each text what the encoder makes of it, sub-tokens x width."""
        batch = self.model.processor.collate_fn_inference(
            [(text, schema) for text in texts],
            self.max_tokens,
            error_policy="raise",
            architecture=self.model.architecture,
        )
        ids, mask = batch.input_ids.to(self.device), batch.attention_mask.to(self.device)
        found: dict[str, list[Tensor]] = {}
        for together in [models] if self._mixes else [[name] for name in models]:
            with self.mixed.rows([name for name in together for _ in texts]):
                states = self.model.encoder(
                    input_ids=ids.repeat(len(together), 1), attention_mask=mask.repeat(len(together), 1)
                ).last_hidden_state
            for name, its in zip(together, states.split(len(texts)), strict=True):
                found[name] = [row[:length] for row, length in zip(its, batch.original_lengths, strict=True)]
        return found


class _Text:
    """A text as it is read, without what is beyond the most characters of a word, and the way back.

    Args:
        tokens: The text.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._text = tokens.text
        self._cuts: list[tuple[int, int]] = []  # place in what is read, characters that are missing there
        parts, end, place = [], 0, 0
        for word in tokens.words:
            if word.end - word.start > _LONGEST:
                parts.append(tokens.text[end : word.start + _LONGEST])
                place += len(parts[-1])
                end = word.end
                self._cuts.append((place, word.end - word.start - _LONGEST))
        self.read = sound("".join([*parts, tokens.text[end:]]))

    def entities(self, answer: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Entity]:
        """What gliner2 found; of spans that differ only in the full stop that it puts after a text, the surest."""
        found: dict[tuple[int, int, str], Entity] = {}
        for label, spans in answer.items():
            for span in spans:
                start, end = self._place(span["start"]), min(self._place(span["end"]), len(self._text))
                entity = Entity(start, end, label, span["confidence"])
                known = found.get(entity.key)
                if start < end and (known is None or known.score < entity.score):
                    found[entity.key] = entity
        return list(found.values())

    def _place(self, place: int) -> int:
        return place + sum(missing for cut, missing in self._cuts if cut <= place)


def schema_of(types: Sequence[EntityType]) -> Any:
    """What gliner2 is asked for.

    Raises:
        SamnerError: If a type is named as one of the marks that gliner2 tells types by.
    """
    from gliner2 import Schema
    from gliner2.processor import SchemaTransformer

    if mark := next((t.name for t in types if t.name in SchemaTransformer.SPECIAL_TOKENS), None):
        raise SamnerError(f"the label {mark!r} is a mark of gliner2's own; give it another name")
    return Schema().entities({t.name: {"description": t.description} if t.description else {} for t in types})


def load_model(folder: Path, device: str) -> Any:
    """A model in the folder of a checkpoint that was checked, to be read only.

    Raises:
        ModelError: If gliner2 is not installed, or cannot load it.
    """
    try:
        from gliner2 import AutoExtractor
    except ImportError as error:
        raise ModelError(f"{folder}: reading it needs gliner2: pip install 'samner[gliner2]' ({error})") from error
    try:
        model = AutoExtractor.from_pretrained(str(folder), map_location=device).eval()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        raise ModelError(f"{folder}: cannot be loaded as a GLiNER2 checkpoint ({reason(error)})") from error
    model.requires_grad_(False)
    mind_positions(model.encoder)
    model.processor.change_mode(is_training=False)
    model.processor._tokenize_cached = _Pieces(model.processor.tokenizer)
    return model


class _Pieces:
    """The sub-tokens of words, remembered as gliner2 does, but so that a model can be pickled."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known = lru_cache(_REMEMBERED)(tokenizer.tokenize)

    def __call__(self, word: str) -> list[str]:
        pieces: list[str] = self._known(word)
        return pieces

    def __reduce__(self) -> tuple[type[_Pieces], tuple[Any]]:
        return _Pieces, (self._tokenizer,)
