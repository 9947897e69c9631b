"""Other ways to say what an entity type is: other names, and definitions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import yaml

from samner.backbones import TrainingSet
from samner.entities import EntityType, Example
from samner.files import read_json
from studies.training_data import HERE, Datasets

SCHEMAS = "wide/dialogue/sgd"
"""The data set whose types ``types/label_paraphrases.json`` tells of."""

GLOSSES = "foundation/wordnet"

_LEAD = re.compile(
    r"^'[^']*' (?:in (?:the context of )?(?:NER|named entity recognition)[^,]*,? )?(?:(?:typically|generally) )?"
    r"(?:refers to|pertains to|denotes|signifies|represents|includes|identifies|encompasses|is) ",
    re.IGNORECASE,
)


def other_wordings() -> dict[str, list[str]]:
    """Other names of the types that the domains and the encyclopedia have, from the project's own list."""
    return dict(yaml.safe_load((HERE / "paraphrases.yaml").read_text(encoding="utf-8")))


def reworded(
    types: Sequence[EntityType], examples: Sequence[Example], wordings: Mapping[str, Sequence[str]]
) -> tuple[tuple[EntityType, ...], list[Example]]:
    """A data set's types and texts as of somebody who calls the types otherwise: each by a wording that is drawn."""
    rng, names = np.random.default_rng(0), {t.name: t.name for t in types}
    for name in names:
        others = [other for other in wordings.get(name, ()) if other not in names and other not in names.values()]
        names[name] = others[rng.integers(len(others))] if others else name
    renamed = [
        Example(e.text, tuple(replace(x, label=names[x.label]) for x in e.entities if x.label in names))
        for e in examples
    ]
    return tuple(EntityType(names[t.name]) for t in types), renamed


def definitions(data: Datasets, sets: Sequence[TrainingSet]) -> dict[str, list[str]]:
    """Definitions of the sets' types, in the form in which a user's type with a description is asked for.

    Those of ``types/`` in the data folder, and WordNet's glosses. What the schemas of one data set call a type is left
    out for types that other data sets have, too, and mean otherwise.
    """
    found: dict[str, list[str]] = {}
    names = Counter(t.name for s in sets for t in s.types)
    for name, text in _json(data, "types/descriptions.json").items():
        if name in names:
            found.setdefault(name, []).append(defined(name, _LEAD.sub("", text)))
    for name, ways in _json(data, "types/label_paraphrases.json").items():
        if names[name] == 1 and any(t.name == name for s in sets if s.name == SCHEMAS for t in s.types):
            found.setdefault(name, []).extend([*ways["names"], *(defined(name, w) for w in ways["descriptions"])])
    if any(s.name == GLOSSES for s in sets):
        for name, gloss in _json(data, f"{GLOSSES}/definitions.json").items():
            if name in names:
                found.setdefault(name, []).append(defined(name, gloss))
    return found


def defined(name: str, text: str) -> str:
    """The prompt of a type with a description."""
    return EntityType(name, text.strip().rstrip(".")).prompt


def _json(data: Datasets, path: str) -> dict[str, Any]:
    for root in (data.data, data.runs):
        if root and (root / path).is_file():
            return read_json(root / path)
    raise SystemExit(f"{path}: neither in {data.data} nor in {data.runs}")
