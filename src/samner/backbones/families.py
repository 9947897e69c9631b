"""The families of base models there are: those of samner, and those that installed packages bring."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from samner.backbones.base import Backbone
from samner.display import reason
from samner.errors import ModelError, SamnerError
from samner.files import read_json
from samner.quiet import quiet

GROUP = "samner.families"
"""Of entry points: a family's name, as ``base.json`` has it, to its :class:`~samner.backbones.Backbone`."""

SERVED = "samner.served_families"
"""The same for bases that a server has."""

_OWN = {
    GROUP: {
        "encoder": "samner.backbones.encoder.backbone:EncoderBackbone",
        "causal": "samner.backbones.language_model.backbone:CausalBackbone",
        "token_classification": "samner.backbones.language_model.token_classification.backbone:TokenClassifier",
        "gliner2": "samner.backbones.gliner2.backbone:Gliner2Backbone",
    },
    SERVED: {"causal": "samner.backbones.language_model.engines.server:ServedBackbone"},
}
"""The entry points of samner itself, so that they are there also where it is not installed."""


def families(group: str = GROUP) -> dict[str, EntryPoint]:
    """The families by name, not yet loaded."""
    known = {name: EntryPoint(name, place, group) for name, place in _OWN[group].items()}
    for point in entry_points(group=group):
        known.setdefault(point.name, point)
    return known


def family(name: str, group: str = GROUP) -> type[Backbone]:
    """The class of a family's backbones, with all that is known of the family without a base.

    Raises:
        SamnerError: If there is none of that name, or the package that brings it is at fault.
    """
    known = families(group)
    if name not in known:
        raise SamnerError(f"unknown family {name!r}; known are {', '.join(known)}")
    point = known[name]
    try:
        kind = point.load()
    except Exception as error:  # another package's code: anything may go wrong in it
        raise SamnerError(f"the family {name!r} of {point.value} cannot be loaded ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, Backbone) and getattr(kind, "family", "") == name):
        raise SamnerError(f"the family {name!r}: {point.value} is not a Backbone whose family is {name!r}")
    return kind


def family_of(folder: Path) -> str:
    """The family of the base in a folder that holds a ``base.json``.

    Raises:
        ModelError: If there is no base, or its family is unknown.
    """
    path = folder / "base.json"
    if not path.is_file():
        raise ModelError(f"{path}: no such file, so {folder} is not a base model")
    name = read_json(path).get("family")
    if not isinstance(name, str) or name not in families():
        raise ModelError(f"{path}: unknown family {name!r}; known are {', '.join(families())}")
    return name


def family_over_models() -> type[Backbone]:
    """The first family that makes bases over models of elsewhere."""
    return next(kind for kind in map(family, families()) if kind.over_models)


def device_name(device: object) -> str:
    """The name of a device that a caller passed: a name, a server, or a ``torch.device``.

    Raises:
        SamnerError: If it is anything else.
    """
    if isinstance(device, str):
        return device
    if type(device).__module__ == "torch":
        return str(device)
    raise SamnerError(f"device must be a name such as 'cpu' or 'auto', or a server's URL, not {device!r}")


def is_server(device: str) -> bool:
    """Whether a device is a server: the URL of its API, or a JSON file that describes it."""
    return device.lower().startswith(("http://", "https://")) or device.endswith(".json")


def usable_device(device: str) -> str:
    """The name of a torch device that is here: what was given, or for ``"auto"`` a GPU if there is one.

    Raises:
        SamnerError: If there is no such device here.
    """
    import torch

    if device == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # of several processes, each has its own
        return "cuda"
    try:
        torch.empty(1, device=device).sum().item()  # of "meta" there is nothing to compute with
        kind = torch.device(device).type
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        server = "; a server's URL begins with http:// or https://" if "/" in device else ""
        raise SamnerError(
            f"the device {device!r} cannot be used here ({reason(error).rstrip('.')}){server}"
        ) from error
    return kind if kind == "cpu" else device  # of which there is one, "cpu:0" to torch alone


def load_backbone(folder: Path, device: str = "auto") -> Backbone:
    """Load the base model in a folder that holds a ``base.json``.

    Args:
        folder: Of the base.
        device: A torch device name, ``"auto"``, or a server that has the model; see ``is_server``.

    Raises:
        ModelError: If there is none, its family is unknown, or the weights are missing or damaged; or if it is to be
            asked through a server, and cannot.
        SamnerError: If the device is not here.
    """
    name, device = family_of(folder), device_name(device)
    if not is_server(device):
        with quiet():
            return family(name).load(folder, usable_device(device))
    if name not in families(SERVED):
        raise ModelError(f"{folder / 'base.json'}: the {name} family runs in this process, not on the server {device}")
    return family(name, SERVED).load(folder, device)
