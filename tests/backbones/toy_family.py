"""A family of base models as another package would bring it: hashed words scored against hashed types.

The base is one linear layer of zeros. An expert is its words' counts by type, as LoRA factors; nothing is trained.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from zlib import crc32

import torch
from safetensors.torch import save_file

from samner.backbones import BASE, Backbone
from samner.backbones.training import TrainingRecipe
from samner.entities import Entity
from samner.files import write_json
from samner.lora import LoraAdapter
from samner.words import Tokens, Word

MODULE, TYPES, WORDS = "scorer", 64, 512
ENTRY_POINTS = "[samner.families]\ntoy = toy_family:ToyBackbone\n"


class ToyRecipe(TrainingRecipe):
    weight: float = 1.0


class ToyBackbone(Backbone):
    family = "toy"
    over_models = True
    fingerprint = "0" * 64
    max_tokens = 100
    threshold = 0.5

    def __init__(self):
        self.weights = {BASE: torch.zeros(TYPES, WORDS)}

    @classmethod
    def load(cls, folder, device="cpu"):
        return cls()

    @classmethod
    def create_base(cls, folder, model, *, prompt=None, four_bit=False):
        write_json(folder / "base.json", {"family": "toy", "model": model})

    def tokenize(self, texts):
        return [Tokens(text, tuple(Word(*m.span(), 1) for m in re.finditer(r"\w+", text))) for text in texts]

    def module_shapes(self):
        return {MODULE: (TYPES, WORDS)}

    def add_expert(self, name, folder, types=()):
        factors = LoraAdapter.load(folder).factors[MODULE]
        self.weights[name] = factors.scale * factors.b.float() @ factors.a.float()

    def add_task_model(self, name, deltas, types=()):
        self.weights[name] = deltas[MODULE].float()

    def task_vectors(self, name):
        return {MODULE: self.weights[name]}

    def save_fused(self, name, folder):
        save_file({f"{MODULE}.weight": self.weights[name]}, folder / "toy.safetensors")

    @property
    def models(self):
        return self.weights.keys() - {BASE}

    def remove(self, name):
        self.weights.pop(name, None)

    def read(self, texts, types, models, threshold):
        return {
            model: [self._find(self.weights[model], tokens.text, types, threshold) for tokens in texts]
            for model in models
        }

    def _find(self, weight, text, types, threshold):
        return [
            Entity(m.start(), m.end(), t.name, score)
            for m in re.finditer(r"\w+", text)
            for t in types
            if (score := float(weight[_row(t.name), _column(m[0])].clamp(0, 1))) >= threshold
        ]

    def train_expert(self, data, out, options, *, run, resume):
        recipe = ToyRecipe.of(options)
        types = sorted({t.name for data_set in data.train for t in data_set.types})
        a, b = torch.zeros(len(types), WORDS), torch.zeros(TYPES, len(types))
        for i, name in enumerate(types):
            b[_row(name), i] = 1
        for data_set in data.train:
            for example in data_set.examples:
                for entity in example.entities:
                    a[types.index(entity.label), _column(example.text[entity.start : entity.end])] = recipe.weight
        prefix = f"base_model.model.{MODULE}"
        save_file({f"{prefix}.lora_A.weight": a, f"{prefix}.lora_B.weight": b}, out / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": len(types), "lora_alpha": len(types), "target_modules": [MODULE]}
        (out / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        return {"recipe": recipe.model_dump()}

    @classmethod
    def recipe(cls):
        return ToyRecipe

    def known_types(self):
        return []


def install(folder: Path) -> None:
    """What pip leaves of a package: its module and its entry points, for a folder on Python's path."""
    (folder / "toy_family.py").write_text(Path(__file__).read_text("utf-8"), "utf-8")
    information = folder / "samner_toy-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: samner-toy\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)


def _row(name):
    return crc32(name.encode()) % TYPES


def _column(word):
    return crc32(word.encode()) % WORDS
