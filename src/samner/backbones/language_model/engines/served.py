"""The causal-LM family where a server has the models: here are only tokenizer, prompt and names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samner.backbones.base import BASE, TrainingData
from samner.backbones.language_model.backbone import CausalBackbone, linears_of, load_tokenizer
from samner.backbones.language_model.base_card import BaseCard, trusted, with_model_errors
from samner.backbones.language_model.engines.client import Client
from samner.backbones.language_model.engines.remote import RemoteEngine, Served
from samner.backbones.language_model.engines.server import Server
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.backbones.mixed_batch import MixedModels
from samner.entities import Entity, EntityType
from samner.errors import ModelError
from samner.lora import LoraAdapter


class ServedBackbone(CausalBackbone):
    """A causal language model that a server runs, with experts and task models as adapters by name.

    The model's weights are not needed here, only its configuration and tokenizer. Experts that the server does not
    have are loaded by it, where it does that. Task models made here cannot be asked, as a server takes adapters only;
    they can be saved, exported as adapters and served.

    Args:
        folder: Holds ``base.json`` and what that refers to.
        server: URL or JSON file; see ``Server.read``.

    Raises:
        ModelError: If the card, the model's configuration or its tokenizer cannot be read, or the server not be asked.
        SamnerError: If the prompt or the server's file cannot be read.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.card = BaseCard.read(folder)
        self.server = Server.read(server)
        self.client = Client(self.server)
        self.device = torch.device("cpu")
        self.reference = self.card.model_reference(folder)
        self.prompt = load_prompt(self.card.prompt_reference(folder))
        self.tokenizer = load_tokenizer(self.reference)
        self.model = _skeleton(self.reference)
        self.max_tokens = self.card.max_tokens
        self.threshold = self.card.threshold
        self.types = self.card.types
        self.mixed = MixedModels(linears_of(self.model, self.reference))
        self.fingerprint = self._fingerprint()
        self._statistics: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._names: dict[str, Served] = {}
        self._loaded: set[str] = set()
        self.engine = RemoteEngine(self.client, self.prompt, self.tokenizer, self.card.max_new_tokens, self._names)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> ServedBackbone:
        """The backbone in a folder that holds a ``base.json``, asked through the server that ``device`` names."""
        return cls(folder, device)

    def add_expert(self, name: str, folder: Path, types: Sequence[str] = ()) -> None:
        super().add_expert(name, folder, types)
        try:
            self._names[name] = self._find(name, LoraAdapter.load(folder).digest, folder)
        except ModelError:
            self.mixed.remove(name)
            raise

    def add_served(self, name: str, served_as: str) -> None:
        self._names[name] = self._find(served_as, name)

    def _find(self, name: str, identity: str, folder: Path | None = None) -> Served:
        """A model on the server, which is to load it if it has not yet."""
        there = self.server.names.get(name, name)
        if there in self.client.models:
            return Served(there, identity)
        if folder:
            there = f"{there}-{identity[:12]}"  # another pool's expert of the same name is another adapter
        if there not in self.client.models:
            place = f"{self.server.adapters}/{name}" if self.server.adapters else folder and str(folder.resolve())
            if not place:
                raise ModelError(
                    f"{self.server.url} serves no {there!r}, only {', '.join(self.client.models)}: export the model "
                    "with 'samner export --to vllm' and start its serve.sh, or say by 'names' what it is called there"
                )
            self.client.load(there, place)
            self._loaded.add(there)
        return Served(there, identity)

    def _base(self) -> Served:
        names = [self.server.names[BASE]] if BASE in self.server.names else self.client.bases
        if len(names) != 1 or names[0] not in self.client.models:
            raise ModelError(
                f"{self.server.url} serves {', '.join(self.client.models)}: say by 'names' which is the {BASE!r}"
            )
        return Served(names[0], self.fingerprint)

    @property
    def models(self) -> Collection[str]:
        return {*self.mixed.names, *self._names} - {BASE}

    def remove(self, name: str) -> None:
        super().remove(name)
        served = self._names.pop(name, None)
        if served and served.name in self._loaded and served not in self._names.values():
            self._loaded.remove(served.name)
            self.client.unload(served.name)

    def predict(
        self, texts: Sequence[str], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        if BASE in models and BASE not in self._names:
            self._names[BASE] = self._base()
        if missing := [name for name in models if name not in self._names]:
            raise ModelError(
                f"{self.server.url} has no {missing[0]!r}, which was merged here: save it ('samner adapt'), export it "
                "('samner export --to vllm') and let the server serve that"
            )
        return super().predict(texts, types, models, threshold)

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        raise ModelError(f"{self.server.url}: a server trains no experts; give a device of this machine")


def _skeleton(reference: str) -> Any:
    """The model without its weights, which tells the shapes of its modules."""
    from transformers import AutoConfig, AutoModelForCausalLM

    def load(model: str, **arguments: Any) -> Any:
        config = AutoConfig.from_pretrained(model, **arguments)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, **arguments)

    return with_model_errors(reference, load, trust_remote_code=trusted())
