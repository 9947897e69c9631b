"""The families of base models there are, and loading a base by the family its ``base.json`` names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from samner.backbones.base import Backbone
from samner.errors import ModelError
from samner.files import read_json

FAMILIES = {
    "encoder": "samner.backbones.encoder.backbone:EncoderBackbone",
    "causal": "samner.backbones.language_model.backbone:CausalBackbone",
}
"""Family name to the class that loads it; imported only when asked for."""

SERVED = {"causal": "samner.backbones.language_model.engines.served:ServedBackbone"}
"""The same for models that a server has."""


def is_server(device: str) -> bool:
    """Whether a device is a server: the URL of its API, or a JSON file that describes it."""
    return device.startswith(("http://", "https://")) or device.endswith(".json")


def load_backbone(folder: Path, device: str = "cpu") -> Backbone:
    """Load the base model in a folder that holds a ``base.json``.

    Args:
        folder: Of the base.
        device: A torch device name, or a server that has the model; see ``is_server``.

    Raises:
        ModelError: If there is none, its family is unknown, or the weights are missing or damaged; or if it is to be
            asked through a server, and cannot.
    """
    path = folder / "base.json"
    if not path.is_file():
        raise ModelError(f"{path}: no such file, so {folder} is not a base model")
    family = read_json(path).get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ModelError(f"{path}: unknown family {family!r}; known are {', '.join(FAMILIES)}")
    if is_server(device) and family not in SERVED:
        raise ModelError(f"{path}: the {family} family runs in this process, not on the server {device}")
    module, name = (SERVED if is_server(device) else FAMILIES)[family].split(":")
    backbone: Backbone = getattr(import_module(module), name).load(folder, device)
    return backbone
