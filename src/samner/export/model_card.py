"""The card of an exported task model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samner.export import card
from samner.export.vllm import SCRIPT

_COMBINED = {
    "union": "An entity counts if either part finds it.",
    "intersection": "An entity counts if both parts find it.",
}


def write_model_card(
    folder: Path, name: str, manifest: Mapping[str, Any], base_folder: Path, command: str | None
) -> None:
    """Write the card.

    Args:
        folder: Where.
        name: The heading.
        manifest: What it says in words.
        base_folder: Of the base model as samner keeps it, which knows the data that taught it.
        command: That serves the parts.
    """
    base, settings = manifest["base"], manifest["settings"]
    experts = [
        (name, ", ".join(f"{expert} x {weight:g}" for expert, weight in part["experts"].items()))
        for name, part in manifest["parts"].items()
    ]
    how = card.settings(settings.get("method", "unknown"), settings.get("parameters", {}))
    named = f"`{base['name']}`" if base["name"] else f"of the {base['family']} family, {base['fingerprint'][:16]}"
    labels = ", ".join(label["name"] for label in manifest["labels"])
    sections = [
        f"Finds entities of the types {labels}. Exported by samner {manifest['versions']['samner']} from a task model "
        f"of mode {manifest['mode']} over the base model {named}, merged by {how}. `export.json` says the same to "
        f"programs. {_COMBINED.get(manifest['mode'], '') if len(experts) > 1 else ''}".rstrip(),
        card.table(("part", "merged of the experts"), experts),
        *(
            card.errors(part["report"], f" of {name}")
            for name, part in manifest["parts"].items()
            if "relative_error" in part["report"]
        ),
        f"## Use\n\n{_use(manifest, command)}",
        card.licences(card.base_data(base_folder)),
        "The data sets of the experts, and their licences, are in the experts' cards in the pool.",
    ]
    library = "peft" if manifest["to"] in ("peft", "vllm") else None
    card.write_card(folder, name, sections, base=base["name"], library=library)


def _use(manifest: Mapping[str, Any], command: str | None) -> str:
    parts, base = list(manifest["parts"]), manifest["base"]["name"]
    if command:
        return (
            f"`sh {SCRIPT}`, or from within this folder:\n\n{card.code(command)}\n\n"
            f'A request names the part that is to answer: `"model": {json.dumps(parts[0])}`.'
        )
    if manifest["to"] == "gguf":
        adapters = "relative_error" in manifest["parts"][parts[0]]["report"]
        if not adapters:
            return card.code("\n".join(f"llama-server -m {part}.gguf" for part in parts))
        options = " ".join(f"--lora {part}.gguf" for part in parts)
        return (
            "With the base model as GGUF:\n\n"
            + card.code(f"llama-server -m base.gguf --lora-init-without-apply {options}")
            + '\n\nA request names the part that is to answer by its number: `"lora": [{"id": 0, "scale": 1.0}]`.'
        )
    if manifest["to"] == "peft":
        if base:
            lines = [f"model = AutoModelForCausalLM.from_pretrained({json.dumps(base)})"]
            lines += [f'model = PeftModel.from_pretrained(model, "{parts[0]}", adapter_name="{parts[0]}")']
            lines += [f'model.load_adapter("{part}", adapter_name="{part}")' for part in parts[1:]]
            imports = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM"]
        else:
            imports = ["from pathlib import Path", "", "from samner.backbones import load_backbone"]
            lines = ['backbone = load_backbone(Path("my-domain/base"))  # of the model that was exported']
            lines += [f'backbone.add_expert("{part}", Path("{part}"))' for part in parts]
        return "Plain PEFT adapters.\n\n" + card.code("\n".join([*imports, "", *lines]), "python")
    if base:
        return "Each part is a checkpoint that transformers, vLLM and llama.cpp's converter load."
    return (
        "Each part is a base model of samner's own; `samner.backbones.load_backbone` reads it, and its predictions "
        "without any expert are those of the task model. It can be the base of a new pool."
    )
