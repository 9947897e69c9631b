"""The families of base models there are, and loading a base by the family its ``base.json`` names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from samner.backbones.base import Backbone
from samner.errors import ModelError
from samner.files import read_json

FAMILIES = {
    "encoder": "samner.backbones.encoder.backbone:EncoderBackbone",
    "causal": "samner.backbones.language_model.backbone:CausalBackbone",
}
"""Family name to the class that loads it; imported only when asked for."""

SERVED = {"causal": "samner.backbones.language_model.engines.server:ServedBackbone"}
"""The same for models that a server has."""

FROM_MODELS = "causal"
"""The family whose bases are made of models that exist elsewhere."""


def is_server(device: str) -> bool:
    """Whether a device is a server: the URL of its API, or a JSON file that describes it."""
    return device.startswith(("http://", "https://")) or device.endswith(".json")


def family(name: str) -> type[Backbone]:
    """The class of a family."""
    kind: type[Backbone] = _load(FAMILIES[name])
    return kind


def family_of(folder: Path) -> str:
    """The family of the base in a folder that holds a ``base.json``.

    Raises:
        ModelError: If there is none, or its family is unknown.
    """
    path = folder / "base.json"
    if not path.is_file():
        raise ModelError(f"{path}: no such file, so {folder} is not a base model")
    name = read_json(path).get("family")
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(f"{path}: unknown family {name!r}; known are {', '.join(FAMILIES)}")
    return name


def load_backbone(folder: Path, device: str = "cpu") -> Backbone:
    """Load the base model in a folder that holds a ``base.json``.

    Args:
        folder: Of the base.
        device: A torch device name, or a server that has the model; see ``is_server``.

    Raises:
        ModelError: If there is none, its family is unknown, or the weights are missing or damaged; or if it is to be
            asked through a server, and cannot.
    """
    name = family_of(folder)
    if is_server(device) and name not in SERVED:
        raise ModelError(f"{folder / 'base.json'}: the {name} family runs in this process, not on the server {device}")
    backbone: Backbone = _load((SERVED if is_server(device) else FAMILIES)[name]).load(folder, device)
    return backbone


def create_base(folder: Path, model: str, **settings: Any) -> None:
    """Make the folder of a base over a language model; see ``language_model.base_card.create_base``."""
    from samner.backbones.language_model.base_card import create_base

    create_base(folder, model, **settings)


def model_folder(path: Path) -> Path:
    """The folder of a language model: itself, or that which a GGUF file is dequantised into.

    Raises:
        ModelError: If it is a file, but no GGUF that can be a base.
    """
    from samner.backbones.language_model.gguf import base_from_gguf, is_gguf

    return base_from_gguf(path) if is_gguf(str(path)) else path


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)
