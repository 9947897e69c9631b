"""Merged task vectors added to the weights of a base model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from samner.errors import ModelError
from samner.export.names import tensor_names
from samner.files import read_json
from samner.merging.deltas import Deltas
from samner.merging.engine import Progress
from samner.merging.stream import DTYPES, Entry, is_finite, naming, raw, read_header

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# What else a model needs to be loaded: configuration, tokenizer, code. What is not listed may be weights in another
# format.
_COPIED = {".json", ".jinja", ".model", ".py", ".tiktoken", ".txt"}
_LEGAL = ("LICENSE", "NOTICE", "USE_POLICY")
_FLOATS = ("F32", "F16", "BF16")
_CHUNK = 1 << 24  # bytes


@dataclass(frozen=True)
class FusedReport:
    """What was written: weight files, changed modules, and bytes of weights."""

    shards: int
    modules: int
    bytes: int


def write_fused(deltas: Deltas, base: Path, folder: Path, *, progress: Progress | None = None) -> FusedReport:
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
        if progress:
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
    return FusedReport(len(shards), len(modules), total)


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
