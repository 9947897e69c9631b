"""Merged task vectors added to the weights of a base model, each to the tensor that is its module's."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch
from torch import Tensor

from samner.backbones import Backbone, load_backbone
from samner.backbones.families import family_over_models
from samner.errors import ModelError, SamnerError
from samner.export.target import Request, Target
from samner.files import naming, read_json
from samner.merging.stream import DTYPES, Deltas, Entry, is_finite, raw, read_header
from samner.merging.task_vectors import Progress
from samner.names import match_modules, shown

_log = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# What else a model needs to be loaded: configuration, tokenizer, code. What is not listed may be weights in another
# format.
_COPIED = {".json", ".jinja", ".model", ".py", ".tiktoken", ".txt"}
_LEGAL = ("LICENSE", "NOTICE", "USE_POLICY")
_FLOATS = ("F32", "F16", "BF16")
_CHUNK = 1 << 24  # bytes

_WEIGHT = ".weight"
_TIED = ": it is tied to the embeddings (tie_word_embeddings), which would change with it"

_Way: TypeAlias = tuple[str, str]
"""The prefix taken from a module's name, and the one added to it; one of the two is empty."""


def write_fused(deltas: Deltas, base: Path, folder: Path, progress: Progress = lambda *step: None) -> dict[str, int]:
    """Write a base model with the task vectors added to its weights, in the base's own files, names and types.

    Everything is checked before anything is written, but for the values. Each weight file is copied byte by byte but
    for the tensors that change; the memory needed is that of one task vector. The sums are made in float32.

    Args:
        deltas: What to add.
        base: Folder with ``model.safetensors``, or its shards and their index. The files beside them that a model
            needs to be loaded (configuration, tokenizer, code, licence) are copied, weights in other formats and
            folders are not.
        folder: An empty folder; the caller sees to it that it is discarded if an error is raised.
        progress: Called with the bytes written so far.

    Returns:
        How many weight files (``shards``), changed ``modules`` and ``bytes`` of weights there are.

    Raises:
        ModelError: If a weight file is missing or damaged, no tensor or several may be what a module is called, its
            shape or type does not fit, it is tied to another, or it holds NaN or infinite values or would come to.
        OSError: If the disk is full.
    """
    shards = _shards(base)
    places = {tensor: (name, entry) for name, entries in shards.items() for tensor, entry in entries.items()}
    modules = {tensor: module for module, tensor in tensor_names(deltas.shapes, places, base).items()}
    for tensor, module in modules.items():
        name, entry = places[tensor]
        if entry.dtype not in _FLOATS:
            known = ", ".join(_FLOATS)
            raise ModelError(f"{base / name}: tensor {tensor} is of type {entry.dtype}; only {known} can be changed")
        if entry.shape != deltas.shapes[module]:
            have, want = tuple(entry.shape), deltas.shapes[module]
            raise ModelError(f"{base / name}: tensor {tensor} has shape {have}, the task vector {want}")
    index = [] if WEIGHTS_FILE in shards else [base / INDEX_FILE]
    for path in [*filter(_is_copied, sorted(base.iterdir())), *index]:
        shutil.copyfile(path, folder / path.name)

    total = sum((base / name).stat().st_size for name in shards)
    written = 0

    def count(size: int) -> None:
        nonlocal written
        written += size
        progress("writing", written, total)

    # one pass in the order of the tensors' places, so that the merge is one as well
    dense = deltas.dense([modules[tensor] for tensor in places if tensor in modules])
    for name, entries in shards.items():
        with naming(folder / name), (base / name).open("rb") as source, (folder / name).open("wb") as target:
            for tensor, entry in entries.items():
                if tensor not in modules:
                    continue
                for chunk in _read(source, entry.start - source.tell(), base / name):
                    count(target.write(chunk))
                _, delta = next(dense)
                for part in _changed(source, entry, delta, f"{base / name}: tensor {tensor}"):
                    count(target.write(part))
                del delta  # before the next one is made
            for chunk in _read(source, (base / name).stat().st_size - source.tell(), base / name):
                count(target.write(chunk))
    return {"shards": len(shards), "modules": len(modules), "bytes": total}


def tensor_names(modules: Collection[str], tensors: Collection[str], base: Path) -> Mapping[str, str]:
    """The weight tensor of each module.

    It is ``<module>.weight``. An adapter may have been made on a model that wraps the base, or on a part of it; then
    one prefix is to be added to all modules or taken from all of them.

    Args:
        modules: Names of modules, in order.
        tensors: Names of the base's tensors.
        base: The base's folder.

    Raises:
        ModelError: If a module has no tensor of its own, or several ways to name them fit.
    """
    stems = {tensor.removesuffix(_WEIGHT) for tensor in tensors if tensor.endswith(_WEIGHT)}
    names = match_modules(modules, stems)
    if len(names) < len(modules):
        ways = {("", ""), *_ways(next(iter(modules), ""), stems)}
        missing = {way: [module for module in modules if _stem(module, way) not in stems] for way in sorted(ways)}
        fitting = [way for way in missing if not missing[way]]
        if not fitting:
            module = min(missing.values(), key=len)[0]
            raise ModelError(f"{base}: has no tensor {shown(module)}{_WEIGHT}{_why(module, base)}")
        if len(fitting) > 1:
            options = " or ".join(_stem(next(iter(modules)), way) + _WEIGHT for way in fitting)
            raise ModelError(f"{base}: module {next(iter(modules))} may be {options}")
        names = {module: _stem(module, fitting[0]) for module in modules}
    names = {module: name + _WEIGHT for module, name in names.items()}
    for module in modules:
        if module.split(".")[-1] == "lm_head" and _config(base).get("tie_word_embeddings") is True:
            raise ModelError(f"{base}: tensor {names[module]} cannot be changed{_TIED}")
    return names


def _ways(module: str, stems: Collection[str]) -> set[_Way]:
    """How a module would have to be renamed to be one of the stems."""
    added = {("", stem.removesuffix(module)) for stem in stems if stem.endswith(f".{module}")}
    taken = {(module.removesuffix(stem), "") for stem in stems if module.endswith(f".{stem}")}
    return added | taken


def _stem(module: str, way: _Way) -> str:
    taken, added = way
    return added + module.removeprefix(taken) if module.startswith(taken) else ""


def _why(module: str, base: Path) -> str:
    # models tie by default, and configurations leave out what is the default
    return (
        _TIED if module.split(".")[-1] == "lm_head" and _config(base).get("tie_word_embeddings", True) is True else ""
    )


def _config(base: Path) -> dict[str, Any]:
    path = base / "config.json"
    return read_json(path) if path.is_file() else {}


def _shards(base: Path) -> dict[str, Mapping[str, Entry]]:
    """The tensors of each weight file, by its name; of the two layouts the one that transformers would take."""
    if (base / WEIGHTS_FILE).is_file():
        return {WEIGHTS_FILE: read_header(base / WEIGHTS_FILE).entries}
    index = base / INDEX_FILE
    if not index.is_file():
        raise ModelError(
            f"{base}: holds neither {WEIGHTS_FILE} nor {INDEX_FILE}; weights in other formats are not read, "
            "save the model as safetensors first"
        )
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ModelError(f"{index}: lists no weights")
    for name in listed.values():
        # not files.inside: in a hub cache every file is a link out of its folder
        if not isinstance(name, str) or Path(name).name != name:
            raise ModelError(f"{index}: {name!r} is not the name of a file beside it")
    shards = {name: read_header(base / name).entries for name in sorted(set(listed.values()))}
    for tensor, name in listed.items():
        if tensor not in shards[name]:
            raise ModelError(f"{base / name}: does not hold tensor {tensor}, which {INDEX_FILE} says it does")
    return {
        name: {t: entry for t, entry in entries.items() if listed.get(t) == name} for name, entries in shards.items()
    }


def _is_copied(path: Path) -> bool:
    known = path.suffix in _COPIED or path.name.startswith(_LEGAL)
    return path.is_file() and known and not path.name.endswith(".index.json")


def _read(source: IO[bytes], size: int, path: Path) -> Iterator[bytes]:
    while size:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise ModelError(f"{path}: got shorter while it was read")
        size -= len(chunk)
        yield chunk


def _changed(source: IO[bytes], entry: Entry, delta: Tensor, what: str) -> Iterator[memoryview]:
    """The bytes of a tensor plus ``delta``, a few rows at a time."""
    dtype = DTYPES[entry.dtype]
    for part in delta.split(max(1, _CHUNK // (delta.shape[1] * dtype.itemsize))):
        weight = torch.frombuffer(bytearray(source.read(part.numel() * dtype.itemsize)), dtype=dtype)
        if not is_finite(weight):
            raise ModelError(f"{what} holds NaN or infinite values")
        merged = (weight.view(part.shape).float() + part).to(dtype)
        if not is_finite(merged):
            raise ModelError(f"{what} would leave the range of {entry.dtype} with its task vector added")
        yield raw(merged)


@dataclass(frozen=True)
class FusedTarget(Target):
    """A base model with the task vectors added to its weights.

    Args:
        base: Folder of the base model: a transformers checkpoint in safetensors, or a base of samner's own.
        backbone: The base of samner's own, where it is loaded.
        fingerprint: That a base of samner's own must have, if it is known.
    """

    base: Path | None
    backbone: Backbone | None = None
    fingerprint: str | None = None

    @classmethod
    def refuse(cls, request: Request) -> None:
        request.no_adapter()

    @classmethod
    def of(cls, request: Request) -> FusedTarget:
        request.no_adapter()
        if request.backbone and not request.causal:
            if request.base:
                raise SamnerError(
                    "--base is for models of a language model; the base of this one is in its own folder"
                )
            return cls(None, request.backbone)
        if request.base and not request.base.exists():
            raise ModelError(f"{request.base}: no such folder; --base names the one that holds the base model")
        # a folder that an adapter names is not opened unasked; what a task model was loaded with is known
        known = request.named if request.backbone else None
        kind = request.backbone or family_over_models()
        base = kind.model_folder(request.base) if request.base else Path(known or "")
        if not (request.base or known) or not base.is_dir():
            raise SamnerError(
                f"the weights of {request.named or 'the base model'} are not in a folder here: --base FOLDER says "
                "where they are"
            )
        return cls(base, None, request.fingerprint)

    def write(self, deltas: Deltas, place: Path, progress: Progress) -> dict[str, Any]:
        place.mkdir(exist_ok=True)
        base, backbone = self.base, self.backbone
        if base and (base / "base.json").is_file():
            backbone = load_backbone(base)
            if self.fingerprint not in (None, backbone.fingerprint):
                raise ModelError(f"{base}: is not the base model that the adapters were trained on")
            base = Path(backbone.checkpoint) if backbone.checkpoint else None
            if base and not base.is_dir():
                raise ModelError(f"the weights of {base} are not in a folder here: --base FOLDER says where they are")
        if base:
            report = write_fused(deltas, base, place, progress)
            if self.fingerprint and not backbone:
                _log.warning("%s: holds no base.json, so nothing tells whether the experts were trained on it", base)
            return report
        assert backbone is not None
        name = f"to be written to {place.name}"
        backbone.add_task_model(name, dict(deltas.dense()))
        try:
            backbone.save_fused(name, place)
        finally:
            backbone.remove(name)
        return {"modules": len(deltas.shapes)}

    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        if "." in parts.values():
            return (
                "The folder is a base model like the one it was made of and loads as that does. It needs no adapter."
            )
        if self.base:
            return "Each part is a checkpoint that transformers, vLLM and llama.cpp's converter load."
        return (
            "Each part is a base model of samner's own; `samner.backbones.load_backbone` reads it, and its "
            "predictions without any expert are those of the task model. It can be the base of a new pool."
        )
