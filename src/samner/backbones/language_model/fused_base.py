"""Bases with a LoRA adapter of their own: fused into the model once, kept as safetensors."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from samner.backbones.language_model.loading import check_weights, checkpoint_digest
from samner.errors import ModelError
from samner.files import MODEL_FILES, made_once, user_folder, writing_tensors
from samner.lora import LoraAdapter

_WEIGHT = ".weight"


def base_with_adapter(model: Path, adapter: Path, cache: Path | None = None) -> Path:
    """The folder that a model is fused into with an adapter: made once for each two, called by what they hold.

    The sums may differ in their last bits from one processor to the next; its name does not.

    Args:
        model: Folder with the model in safetensors.
        adapter: Folder of a PEFT adapter.
        cache: Where such folders are kept; by default in the user's folder.

    Raises:
        ModelError: If either is damaged or missing, or they do not fit each other.
    """
    own = LoraAdapter.load(adapter)
    check_weights(model)
    told = f"{checkpoint_digest(model)} {own.digest}"
    folder = (cache or user_folder()) / "fused" / hashlib.sha256(told.encode()).hexdigest()
    return made_once(folder, lambda temporary: _fuse(model, own, adapter, temporary))


def check_adapter(adapter: Path, digest: str) -> None:
    """Refuse an adapter that is not the one whose digest is kept, before anything large is made with it.

    Raises:
        ModelError: If it is another, damaged or missing.
    """
    if LoraAdapter.load(adapter).digest != digest:
        raise ModelError(f"{adapter}: damaged or changed, what it holds is not what base.json says")


def _fuse(model: Path, own: LoraAdapter, adapter: Path, out: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    files = sorted(model.glob("*.safetensors"))
    shapes: dict[str, tuple[int, int]] = {}
    for path in files:
        with safe_open(path, framework="pt") as tensors:
            names = [name for name in tensors.keys() if name.endswith(_WEIGHT)]  # noqa: SIM118 (no dict)
            shapes |= {name.removesuffix(_WEIGHT): tuple(tensors.get_slice(name).get_shape()) for name in names}
    try:
        own = own.on_base(shapes)
    except ModelError as error:
        raise ModelError(f"{adapter}: {error}") from error
    for path in files:
        weights = load_file(path)
        for name, weight in weights.items():
            if (module := name.removesuffix(_WEIGHT)) in own.factors:
                weights[name] = (weight.float() + own.delta(module)).to(weight.dtype)
        with writing_tensors(out / path.name):
            save_file(weights, out / path.name, metadata={"format": "pt"})
    for path in model.iterdir():
        if path.is_file() and path.suffix in MODEL_FILES and path not in files:
            shutil.copyfile(path, out / path.name)
