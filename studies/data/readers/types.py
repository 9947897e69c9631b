"""What is said of types: definitions, other names."""

from __future__ import annotations

import json
from typing import Any

from studies.data.readers.dialogues import slot_label
from studies.data.sources import Files
from studies.data.texts import words


def definitions(files: Files) -> dict[str, Any]:
    """A language model's definitions of types, of those answers that are JSON."""
    (_, text) = next(files.texts("all"))
    found = {}
    for type_, asked in json.loads(text).items():
        try:
            found[type_] = json.loads(asked["gpt_answer"])["Definition"].strip()
        except json.JSONDecodeError:
            continue
    return found


def other_names(files: Files) -> dict[str, Any]:
    """Names and descriptions of slots in Schema-Guided Dialogue and its variants SGD-X, by the labels of its set.

    A variant renames the slots of each service and keeps their order.
    """
    schemas = {path: json.loads(text) for path, text in files.texts("all")}
    names: dict[str, set[str]] = {}
    descriptions: dict[str, set[str]] = {}
    for path, schema in schemas.items():
        original = schemas["/".join(path.split("/")[-2:])]  # sgd_x/data/v1/train/schema.json is of train/schema.json
        for service, renamed in zip(original, schema, strict=True):
            for slot, other in zip(service["slots"], renamed["slots"], strict=True):
                label = slot_label(files, service["service_name"], slot["name"])
                names.setdefault(label, set()).add(words(other["name"]))
                descriptions.setdefault(label, set()).add(other["description"].strip())
    return {
        label: {"names": sorted(names[label] - {label}), "descriptions": sorted(descriptions[label])}
        for label in sorted(names)
    }
