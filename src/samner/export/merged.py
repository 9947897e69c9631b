"""A merge as a folder: what was asked for, a manifest and a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from samner.export import card
from samner.export.adapter import RANKS
from samner.export.sources import Source, check_fingerprints, named_base
from samner.export.targets import DELTA_FILE, AdapterTarget, FusedTarget, Target
from samner.export.vllm import resolved, vllm_command
from samner.files import atomic_folder, sha256, write_json
from samner.merging import Merger, make_method
from samner.merging.engine import Progress
from samner.merging.registry import LowRankMethod

MANIFEST = "merge.json"


def export_merge(
    sources: Sequence[Source],
    out: Path,
    target: Target,
    method: str = "ties",
    weights: Sequence[float] | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress = lambda stage, done, total: None,
    **params: object,
) -> dict[str, Any]:
    """Merge adapters and write the result to a new folder, whole or not at all.

    Args:
        sources: The adapters.
        out: The folder.
        target: What to write.
        method: See ``samner.merging.Merger``, as for the arguments not named here.
        weights: One per adapter; equal by default.
        device: Torch device to merge on.
        threads: Of torch.
        progress: Called with a stage, what is done of it and what there is to do.
        **params: Of the method.

    Returns:
        The manifest.

    Raises:
        SamnerError: If the folder exists, an argument is not valid, or the adapters do not fit each other or the base.
        OSError: If the disk is full.

    Example:
        >>> from pathlib import Path
        >>> from samner.export import AdapterTarget, Source
        >>> sources = [Source.read(Path(name)) for name in ("news", "medicine")]
        >>> export_merge(sources, Path("merged"), AdapterTarget(rank=64), density=0.3)["report"]["rank"]
        64
    """
    chosen = make_method(method, params)
    target.check(isinstance(chosen, LowRankMethod))
    check_fingerprints(sources)
    with atomic_folder(out) as folder:
        adapters = [source.adapter for source in sources]
        with Merger(adapters, method, weights, device=device, threads=threads, progress=progress, **params) as merger:
            report = target.write(merger, folder, progress)
        manifest = {
            "format": 1,
            "samner": version("samner"),
            "to": target.kind,
            "method": method,
            "parameters": asdict(chosen),
            "adapters": [
                source.to_dict(weight) for source, weight in zip(sources, weights or [1.0] * len(sources), strict=True)
            ],
            "report": report,
        }
        _write_card(folder, out.resolve().name, manifest, target, sources)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        manifest["files"] = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
        write_json(folder / MANIFEST, manifest)
    return manifest


def _write_card(
    folder: Path, name: str, manifest: Mapping[str, Any], target: Target, sources: Sequence[Source]
) -> None:
    adapters = manifest["adapters"]
    base = target.base if isinstance(target, AdapterTarget) else named_base(sources)
    rows = [(a["name"], f"{a['weight']:g}", f"`{a['files']['adapter_model.safetensors']}`") for a in adapters]
    data = card.base_data(target.base) if isinstance(target, FusedTarget) else ()
    trained_on = next((f" (fingerprint {s.card.base[:16]})" for s in sources if s.card), "")
    how = card.settings(manifest["method"], manifest["parameters"])
    sections = [
        f"Merged of {len(adapters)} LoRA adapters of the base model {f'`{base}`' if base else 'that they share'}"
        f"{trained_on} by samner {manifest['samner']}, method {how}. `{MANIFEST}` says the same to programs.",
        card.table(("adapter", "weight", "SHA-256 of its weights"), rows),
        card.errors(manifest["report"]) if isinstance(target, AdapterTarget) else "",
        _USE[target.kind],
        _vllm(target, name, manifest["report"]) if isinstance(target, AdapterTarget) and target.causal else "",
        card.licences([*data, *((a["name"], d["name"], d["licence"]) for a in adapters for d in a["data"])]),
    ]
    card.write_card(folder, name, sections, base=base, library="peft" if target.kind == "adapter" else None)


def _vllm(target: AdapterTarget, name: str, report: Mapping[str, Any]) -> str:
    if report["rank"] > RANKS[-1]:
        return f"vLLM serves adapters up to rank {RANKS[-1]} only."
    command = vllm_command(resolved(target.base or "BASE"), {name: "."}, report["rank"])
    return f"Served by vLLM, from within this folder:\n\n{card.code(command)}"


_USE = {
    "adapter": "## Use\n\nOn the base model that the adapters were trained on:\n\n"
    + card.code(
        'from peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base, "path/to/this/folder")', "python"
    ),
    "fused": "## Use\n\nThe folder is a base model like the one it was made of and loads as that does. It needs no "
    "adapter.",
    "delta": "## Use\n\nThe merged task vectors, exactly: what is to be added to the weights of the base model.\n\n"
    + card.code(
        "from pathlib import Path\n\n"
        "from samner.merging.delta_file import DeltaFile\n\n"
        f'for module, delta in DeltaFile.open(Path("{DELTA_FILE}")).dense():\n'
        "    model.get_submodule(module).weight.data += delta",
        "python",
    ),
}
