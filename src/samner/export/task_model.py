"""A task model in the forms that other programs load."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from samner.backbones import Backbone
from samner.backbones.families import model_folder
from samner.errors import SamnerError
from samner.export.fused import write_fused
from samner.export.gguf import ADAPTER_CONVERTER, MODEL_CONVERTER, adapter_to_gguf, find_converter, model_to_gguf
from samner.export.model_card import write_model_card
from samner.export.targets import AdapterTarget
from samner.export.vllm import resolved, vllm_rank, write_vllm_script
from samner.files import atomic_folder, sha256, write_json
from samner.merging.delta_file import TensorDeltas
from samner.merging.engine import Progress
from samner.task_model import TaskModel, versions

KINDS = ("peft", "fused", "vllm", "gguf")
MANIFEST = "export.json"
_PROGRAMS = {"vllm": "vLLM", "gguf": "llama.cpp"}


def export_task_model(
    model: TaskModel,
    out: Path,
    kind: str,
    *,
    adapter: AdapterTarget | None = None,
    base: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Write a task model to a new folder, whole or not at all.

    A model has a part for each selection strategy, or one where both chose the same experts.

    Args:
        model: The model.
        out: The folder.
        kind: ``"peft"`` (an adapter a part), ``"fused"`` (a base model a part), ``"vllm"`` (adapters and the script
            that serves them) or ``"gguf"`` (a file of llama.cpp a part: an adapter if ``adapter`` is given, else a
            whole model).
        adapter: Rank or largest error, and type, of adapters.
        base: Folder of the base model, where that is a language model which is not at hand under its own name.
        progress: Called with a stage, what is done of it and what there is to do.

    Returns:
        The manifest.

    Raises:
        SamnerError: If the folder exists, an argument is not valid, or the base cannot be exported like that.
        OSError: If the disk is full.

    Example:
        >>> from samner.export import AdapterTarget
        >>> model = TaskModel.load("my-domain")
        >>> manifest = export_task_model(model, Path("adapters"), "peft", adapter=AdapterTarget(rank=64))
        >>> list(manifest["parts"])
        ['similarity', 'sampling']
    """
    plan = _plan(model.backbone, kind, adapter, base)
    parts = _parts(model)
    with atomic_folder(out) as folder:
        reports = {}
        for name, task_model in parts.items():
            with _place(folder, name, kind) as place:
                reports[name] = plan.write(model.backbone, task_model, place, progress)
                if kind == "gguf":
                    progress(f"converting {name} to GGUF", 0, 1)
                    plan.convert(place, folder / f"{name}.gguf")
        command = None
        if kind == "vllm":
            command = write_vllm_script(folder, plan.base, {name: report["rank"] for name, report in reports.items()})
        manifest = {
            "format": 1,
            "to": kind,
            "versions": versions(),
            "base": {"family": model.backbone.family, "fingerprint": model.backbone.fingerprint, "name": plan.base},
            "mode": model.mode,
            "labels": [{"name": t.name, "description": t.description} for t in model.types],
            "threshold": model.threshold,
            "settings": dict(model.settings),
            "parts": {
                name: {
                    "strategies": [s for s, merge in model.merges.items() if merge.model == task_model],
                    "experts": next(dict(m.experts) for m in model.merges.values() if m.model == task_model),
                    "report": reports[name],
                }
                for name, task_model in parts.items()
            },
        }
        write_model_card(folder, out.resolve().name, manifest, model.base_folder, command)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        manifest["files"] = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
        write_json(folder / MANIFEST, manifest)
    return manifest


@dataclass(frozen=True)
class _Plan:
    """How each part is written.

    Args:
        adapter: As an adapter like this, or else as a base model.
        base: Folder or hub id of the base, if it is a language model that others can run; otherwise empty.
    """

    adapter: AdapterTarget | None
    base: str

    def write(self, backbone: Backbone, task_model: str, folder: Path, progress: Progress) -> dict[str, Any]:
        deltas = TensorDeltas(backbone.task_vectors(task_model))
        if self.adapter:
            return self.adapter.write(deltas, folder, progress)
        if self.base:
            return asdict(write_fused(deltas, Path(self.base), folder, progress=progress))
        backbone.save_fused(task_model, folder)
        return {"modules": len(deltas.shapes)}

    def convert(self, folder: Path, file: Path) -> None:
        if self.adapter:
            adapter_to_gguf(folder, self.base, file)
        else:
            model_to_gguf(folder, file)


def _plan(backbone: Backbone, kind: str, adapter: AdapterTarget | None, base: Path | None) -> _Plan:
    """Everything that can be wrong, found before anything is written."""
    if kind not in KINDS:
        raise SamnerError(f"unknown export {kind!r}; known are {', '.join(KINDS)}")
    checkpoint = backbone.checkpoint
    if checkpoint is None:
        if program := _PROGRAMS.get(kind):
            raise SamnerError(
                f"{program} cannot run this model: its base is of the {backbone.family} family; export it to peft or "
                "fused"
            )
        if base:
            raise SamnerError("--base is for models of a language model; the base of this one is in its own folder")
    name = resolved(str(model_folder(base) if base else checkpoint)) if checkpoint else ""
    if kind == "fused" and adapter:
        raise SamnerError("--rank, --max-error and --dtype are of adapters; a fused model is exact and has none")
    if kind in ("peft", "vllm") or adapter:
        adapter = replace(adapter or AdapterTarget(), base=name or None, causal=bool(name))
        adapter.check(low_rank=False)
        if kind == "vllm" and adapter.rank:
            vllm_rank(adapter.rank)
    elif name and not Path(name).is_dir():
        raise SamnerError(f"the weights of {name} are not in a folder here: --base FOLDER says where they are")
    if kind == "gguf":
        find_converter(ADAPTER_CONVERTER if adapter else MODEL_CONVERTER)
    return _Plan(adapter, name)


def _parts(model: TaskModel) -> dict[str, str]:
    """Strategy to task model, each task model once."""
    parts: dict[str, str] = {}
    for strategy, merge in model.merges.items():
        if merge.model not in parts.values():
            parts[strategy] = merge.model
    return parts


@contextmanager
def _place(folder: Path, name: str, kind: str) -> Iterator[Path]:
    """Where a part is written to: for good, or to be converted."""
    if kind == "gguf":
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder) as temporary:
            yield Path(temporary)
    else:
        (folder / name).mkdir()
        yield folder / name
