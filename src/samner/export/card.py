"""The model cards (``README.md``) of exports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from samner.display import markdown
from samner.export.adapter import RANKS, AdapterTarget
from samner.export.fused import FusedTarget
from samner.export.target import Target, code
from samner.export.vllm import vllm_command
from samner.files import read_json
from samner.pool.card import model_card, table

CARD = "README.md"
_WORST = 5
_ROUNDING = 1e-6
_OWN_ADAPTER = (
    "The base model is {}: a language model with an adapter of the base's own fused in, once, by samner. Adapters go "
    "on that folder, which is what to serve or convert, and not on the model that it was made of; whole models hold "
    "all of it."
)
_COMBINED = {
    "union": "An entity counts if either part finds it.",
    "intersection": "An entity counts if both parts find it.",
}


def merge_card(folder: Path, name: str, manifest: Mapping[str, Any], target: Target, fingerprint: str | None) -> None:
    """Write the card of a merge.

    Args:
        folder: Where.
        name: The heading.
        manifest: What it says in words.
        target: As what the merge was written.
        fingerprint: Of the base model, where it is known.
    """
    adapters, base, report = manifest["adapters"], manifest["base"], manifest["report"]
    rows = [(a["name"], f"{a['weight']:g}", a["files"]["adapter_model.safetensors"]) for a in adapters]
    data = _base_data(target.base) if isinstance(target, FusedTarget) and target.base else ()
    served = ""
    if isinstance(target, AdapterTarget) and target.causal:
        served = f"vLLM serves adapters up to rank {RANKS[-1]} only."
        if report["rank"] <= RANKS[-1]:
            reference = str(Path(base).resolve()) if base and Path(base).is_dir() else base or "BASE"
            served = "Served by vLLM, from within this folder:\n\n" + code(
                vllm_command(reference, {name: "."}, report["rank"])
            )
    sections = [
        f"Merged of {len(adapters)} LoRA adapters of the base model {markdown(base) if base else 'that they share'}"
        f"{f' (fingerprint {fingerprint[:16]})' if fingerprint else ''} by samner {manifest['samner']}, method "
        f"{settings(manifest['method'], manifest['parameters'])}. `merge.json` says the same to programs.",
        table(("adapter", "weight", "SHA-256 of its weights"), rows),
        _errors(report) if "relative_error" in report else "",
        f"## Use\n\n{target.usage({name: '.'}, {name: report})}",
        served,
        _licences([*data, *((a["name"], d["name"], d["licence"]) for a in adapters for d in a["data"])]),
    ]
    model_card(name, sections, base=base, library=target.library, tags=["merge"]).save(folder / CARD)


def task_model_card(folder: Path, name: str, manifest: Mapping[str, Any], target: Target, base_folder: Path) -> None:
    """Write the card of a task model.

    Args:
        folder: Where.
        name: The heading.
        manifest: What it says in words.
        target: As what its parts were written.
        base_folder: Of the base model as samner keeps it, which knows the data that taught it.
    """
    base, parts = manifest["base"], manifest["parts"]
    experts = [
        (name, ", ".join(f"{expert} x {weight:g}" for expert, weight in part["experts"].items()))
        for name, part in parts.items()
    ]
    how = settings(manifest["settings"].get("method", "unknown"), manifest["settings"].get("parameters", {}))
    named = markdown(base["name"]) if base["name"] else f"of the {base['family']} family, {base['fingerprint'][:16]}"
    labels = markdown(", ".join(label["name"] for label in manifest["labels"]))
    reports = {name: part["report"] for name, part in parts.items()}
    sections = [
        f"Finds entities of the types {labels}. Exported by samner {manifest['versions']['samner']} from a task model "
        f"of mode {manifest['mode']} over the base model {named}, merged by {how}. `export.json` says the same to "
        f"programs. {_COMBINED.get(manifest['mode'], '') if len(experts) > 1 else ''}".rstrip(),
        _OWN_ADAPTER.format(named) if base["own_adapter"] else "",
        table(("part", "merged of the experts"), experts),
        *(_errors(report, f" of {name}") for name, report in reports.items() if "relative_error" in report),
        f"## Use\n\n{target.usage({name: name for name in parts}, reports)}",
        _licences(_base_data(base_folder)),
        "The data sets of the experts, and their licences, are in the experts' cards in the pool.",
    ]
    model_card(name, sections, base=base["name"], library=target.library, tags=["merge"]).save(folder / CARD)


def settings(method: str, parameters: Mapping[str, Any]) -> str:
    """A merge method and its parameters in a line."""
    return ", ".join([method, *(f"{name} {value}" for name, value in parameters.items())])


def is_exact(report: Mapping[str, Any]) -> bool:
    """Whether an adapter lost nothing but what float32 rounds off."""
    return bool(report["relative_error"] < _ROUNDING)


def worst(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """The modules of an adapter's report that lost most, the worst first."""
    modules: Mapping[str, Mapping[str, float]] = report["modules"]
    return sorted(modules.items(), key=lambda item: -item[1]["relative_error"])[:_WORST]


def _errors(report: Mapping[str, Any], of: str = "") -> str:
    """What an adapter lost, from its report."""
    heading = f"## What the rank costs{of}\n\n"
    if is_exact(report):
        return f"{heading}Nothing: the task vectors have rank {report['rank']}, and so has the adapter."
    rows = [(name, error["relative_error"], error["energy"]) for name, error in worst(report)]
    return (
        f"{heading}An adapter of rank {report['rank']} stands for task vectors that need a higher one. Over all "
        f"modules its relative error (Frobenius norm of what is missing, over that of the task vectors) is "
        f"{report['relative_error']:.3g}; it retains {report['energy']:.1%} of their energy (squared norm). The "
        f"modules with the largest error:\n\n{table(('module', 'relative error', 'energy retained'), rows)}"
    )


def _licences(data: Iterable[tuple[str, str, str]]) -> str:
    """The data that went in: (what was trained on it, data set, its licence)."""
    rows = list(data)
    if not rows:
        return "## Data\n\nNothing is stated about the data that went in, nor about its licences."
    return (
        "## Data\n\nLicences as the sources state them; where none is stated, third parties may hold rights in the "
        f"texts.\n\n{table(('part', 'data set', 'licence'), rows)}"
    )


def _base_data(folder: Path) -> Iterator[tuple[str, str, str]]:
    """What the base was taught, as far as its ``base.json`` tells."""
    path = folder / "base.json"
    data = read_json(path).get("data") if path.is_file() else None
    for source in data if isinstance(data, list) else []:
        if isinstance(source, dict):
            yield "base", str(source.get("name", "not named")), str(source.get("licence", "not stated"))
