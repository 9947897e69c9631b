"""The families of base models there are, and loading a base by the family its ``base.json`` names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from samner.backbones.base import Backbone
from samner.errors import ModelError
from samner.files import read_json

FAMILIES = {"encoder": "samner.backbones.encoder.backbone:EncoderBackbone"}
"""Family name to the class that loads it; imported only when asked for."""


def load_backbone(folder: Path, device: str = "cpu") -> Backbone:
    """Load the base model in a folder that holds a ``base.json``.

    Raises:
        ModelError: If there is none, its family is unknown, or the weights are missing or damaged.
    """
    path = folder / "base.json"
    if not path.is_file():
        raise ModelError(f"{path}: no such file, so {folder} is not a base model")
    family = read_json(path).get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ModelError(f"{path}: unknown family {family!r}; known are {', '.join(FAMILIES)}")
    module, name = FAMILIES[family].split(":")
    backbone: Backbone = getattr(import_module(module), name).load(folder, device)
    return backbone
