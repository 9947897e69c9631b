"""Merges and task models as folders: the parts in the form asked for, a manifest, and a card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from samner.backbones import Backbone
from samner.backbones.families import family, family_of
from samner.errors import ModelError, SamnerError
from samner.export.adapter import AdapterTarget
from samner.export.card import merge_card, task_model_card
from samner.export.fused import FusedTarget
from samner.export.gguf import GgufTarget
from samner.export.onnx import OnnxTarget
from samner.export.target import DeltaTarget, Request, Target
from samner.export.vllm import VllmTarget
from samner.files import atomic_folder, sha256, write_json
from samner.lora import LoraAdapter
from samner.merging import Merger, make_method
from samner.merging.merger import of_one_base
from samner.merging.registry import LowRankMethod
from samner.merging.stream import TensorDeltas
from samner.merging.task_vectors import Progress
from samner.pool.card import CARD, ExpertCard
from samner.task_model import TaskModel, versions

MERGES: Mapping[str, type[Target]] = {"adapter": AdapterTarget, "fused": FusedTarget, "delta": DeltaTarget}
"""What a merge of adapters can be written as."""

MODELS: Mapping[str, type[Target]] = {
    "peft": AdapterTarget,
    "fused": FusedTarget,
    "vllm": VllmTarget,
    "gguf": GgufTarget,
    "onnx": OnnxTarget,
}
"""What a task model can be written as."""

MERGE_MANIFEST = "merge.json"
MODEL_MANIFEST = "export.json"


def export_merge(
    adapters: Sequence[str | Path],
    out: str | Path,
    to: str = "adapter",
    method: str = "ties",
    weights: Sequence[float] | None = None,
    *,
    rank: int | None = None,
    max_error: float | None = None,
    dtype: str | None = None,
    base: Path | None = None,
    same_base: Iterable[str] = (),
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = lambda stage, done, total: None,
    **params: Any,
) -> dict[str, Any]:
    """Merge adapters and write the result to a new folder, whole or not at all.

    Args:
        adapters: Folders of PEFT adapters or experts. Where there is an expert's card its checksums must be right.
        out: The folder.
        to: One of ``MERGES``.
        method: See ``samner.merging.Merger``, as for the arguments not named here.
        weights: One per adapter; equal by default.
        rank: Of the adapter that is written.
        max_error: Instead of a rank, the relative error that it may have.
        dtype: In which its factors are stored: float32 (the default), float16 or bfloat16.
        base: Folder of the base model, for a fused one; the one that the adapters name if that is here.
        same_base: Names of bases that are said to be one, as ``"A=B"``, or ``"A"`` if all are of that.
        device: Torch device to merge on, or ``"auto"``.
        threads: Of torch.
        progress: Called with a stage, what is done of it and what there is to do.
        **params: Of the method.

    Returns:
        The manifest.

    Raises:
        SamnerError: If the folder exists, an argument is not valid, or the adapters do not fit each other or the base.
        OSError: If the disk is full.

    Example:
        >>> export_merge(["news", "medicine"], "merged", rank=64, density=0.3)["report"]["rank"]
        64
    """
    out = Path(out)
    kind = _known(to, MERGES)
    chosen = make_method(method, params)
    read = [_read(Path(folder)) for folder in adapters]
    loaded, named = of_one_base([adapter for adapter, _ in read], same_base)
    fingerprint = next((adapter.fingerprint for adapter in loaded if adapter.fingerprint), None)
    causal = any(adapter.causal for adapter in loaded)
    target = kind.of(Request(rank, max_error, dtype, base, named, causal, fingerprint=fingerprint))
    target.check(isinstance(chosen, LowRankMethod))
    with atomic_folder(out) as folder:
        with Merger(loaded, method, weights, device=device, threads=threads, progress=progress, **params) as merger:
            report = target.write(merger, folder, progress)
        manifest: dict[str, Any] = {
            "format": 1,
            "samner": versions()["samner"],
            "to": to,
            "method": method,
            "parameters": asdict(chosen),
            "base": named,
            "adapters": [
                {
                    "name": adapter.name,
                    "weight": weight,
                    "base": adapter.base,
                    "files": dict(adapter.files),
                    "data": [{"name": s.name, "licence": s.licence} for s in (card.data if card else ())],
                }
                for (adapter, card), weight in zip(read, weights or [1.0] * len(read), strict=True)
            ],
            "report": report,
        }
        merge_card(folder, out.resolve().name, manifest, target, fingerprint)
        _finish(folder, MERGE_MANIFEST, manifest)
    return manifest


def export_task_model(
    model: TaskModel,
    out: str | Path,
    to: str,
    *,
    rank: int | None = None,
    max_error: float | None = None,
    dtype: str | None = None,
    base: Path | None = None,
    int8: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Write a task model to a new folder, whole or not at all.

    A model has a part for each selection strategy, or one where both chose the same experts.

    Args:
        model: The model.
        out: The folder.
        to: ``"peft"`` (an adapter a part), ``"fused"`` (a base model a part), ``"vllm"`` (adapters and the script
            that serves them), ``"gguf"`` (a file of llama.cpp a part: an adapter if rank, error or type of one are
            given, else a whole model) or ``"onnx"`` (a graph of all parts, which ``samner.runtime`` asks).
        rank: Of adapters.
        max_error: Instead of a rank, the relative error that they may have.
        dtype: In which their factors are stored: float32 (the default), float16 or bfloat16.
        base: Folder of the base model, where that is a language model which is not at hand under its own name.
        int8: Of ``"onnx"``: whether weights are stored and multiplied in eight bits.
        progress: Called with a stage, what is done of it and what there is to do.

    Returns:
        The manifest.

    Raises:
        SamnerError: If the folder exists, an argument is not valid, or the base cannot be exported like that.
        OSError: If the disk is full.

    Example:
        >>> model = TaskModel.load("my-domain")
        >>> "similarity" in export_task_model(model, "adapters", "peft", rank=64)["parts"]
        True
    """
    out = Path(out)
    backbone = model.backbone
    kind = _refused(type(backbone), to, Request(rank, max_error, dtype, base, int8=int8))
    if base and backbone.has_own_adapter:
        raise SamnerError(
            f"--base is not for this model: its base has an adapter of its own, fused into {backbone.checkpoint}"
        )
    named = (
        _resolved(str(backbone.model_folder(base) if base else backbone.checkpoint)) if backbone.checkpoint else None
    )
    parts: dict[str, str] = {}  # strategy to task model, each task model once
    for strategy, merge in model.merges.items():
        if merge.model not in parts.values():
            parts[strategy] = merge.model
    request = Request(
        *(rank, max_error, dtype, base, named),
        causal=named is not None,
        backbone=backbone,
        parts=parts,
        types=model.types,
        int8=int8,
    )
    target = kind.of(request)
    target.check(low_rank=False)
    with atomic_folder(out) as folder:
        reports = {
            name: target.write(TensorDeltas(backbone.task_vectors(task_model)), folder / name, progress)
            for name, task_model in parts.items()
        }
        target.finish(folder, reports)
        manifest: dict[str, Any] = {
            "format": 1,
            "to": to,
            "versions": versions(),
            "base": {
                "family": backbone.family,
                "fingerprint": backbone.fingerprint,
                "name": named or "",
                "own_adapter": backbone.has_own_adapter,
            },
            "mode": model.mode,
            "labels": [{"name": t.name, "description": t.description} for t in model.types],
            **model.scores(),
            "settings": dict(model.settings),
            "parts": {
                name: {
                    "strategies": [s for s, merge in model.merges.items() if merge.model == task_model],
                    "experts": dict(model.merges[name].experts),
                    "report": reports[name],
                }
                for name, task_model in parts.items()
            },
        }
        task_model_card(folder, out.resolve().name, manifest, target, model.base_folder)
        _finish(folder, MODEL_MANIFEST, manifest)
    return manifest


def check_task_model(
    folder: Path,
    to: str,
    *,
    rank: int | None = None,
    max_error: float | None = None,
    dtype: str | None = None,
    base: Path | None = None,
    int8: bool = False,
) -> None:
    """Refuse what ``export_task_model`` would of a saved task model, as far as that is known before it is loaded.

    Args:
        folder: Of the model.
        to: As of ``export_task_model``.
        rank: Of adapters.
        max_error: Instead of a rank.
        dtype: In which their factors are stored.
        base: Folder of the base model.
        int8: Whether weights are stored in eight bits.

    Raises:
        SamnerError: If so; not if the folder holds no model, which is told when it is loaded.
    """
    place = folder / "base"
    if (place / "base.json").is_file():
        _refused(family(family_of(place)), to, Request(rank, max_error, dtype, base, int8=int8))


def _refused(of: type[Backbone], to: str, request: Request) -> type[Target]:
    """The form of export, if a family can have it as it is asked for: what a family has, it does not inherit."""
    kind = _known(to, MODELS)
    if request.int8 and to != "onnx":
        raise SamnerError(f"--int8 is for --to onnx, not for --to {to}")
    causal = of.checkpoint is not Backbone.checkpoint
    if request.base and not causal:
        raise SamnerError("--base is for models of a language model; the base of this one is in its own folder")
    kind.refuse(replace(request, causal=causal, graphs=of.save_onnx is not Backbone.save_onnx))
    return kind


def _known(to: str, targets: Mapping[str, type[Target]]) -> type[Target]:
    if to not in targets:
        raise SamnerError(f"unknown --to {to!r}; known are {', '.join(targets)}")
    return targets[to]


def _read(folder: Path) -> tuple[LoraAdapter, ExpertCard | None]:
    """An adapter, and its card if it is an expert."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; name a PEFT adapter's, or an expert with --pool POOL")
    if not (folder / CARD).is_file():
        return LoraAdapter.load(folder), None
    card = ExpertCard.read(folder)
    return LoraAdapter.load(folder, fingerprint=card.base, checksums=card.files), card


def _resolved(base: str) -> str:
    """A base model's reference that means the same in another folder: a path in full, a hub id as it is."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def _finish(folder: Path, name: str, manifest: dict[str, Any]) -> None:
    """Write the manifest, with the checksums of all other files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    manifest["files"] = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    write_json(folder / name, manifest)
