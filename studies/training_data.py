"""The data sets that pools are trained on, read from the data folder; the studies share this.

Which there are, with their licences, is in ``pool_data.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from samner.backbones import TrainingSet
from samner.data import read_examples
from samner.entities import EntityType, Example
from samner.errors import SamnerError
from samner.training import training_set

HERE = Path(__file__).parent
POOL_DATA = HERE / "pool_data.yaml"


@dataclass(frozen=True)
class Datasets:
    """Data sets by name, such as ``train/news/conll2003``.

    Args:
        data: The data folder, with ``foundation/`` and ``train/``.
        runs: Where data sets lie that a study made.
    """

    data: Path
    runs: Path | None = None

    def examples(self, name: str, split: str) -> list[Example]:
        """The texts of a split."""
        roots = [root for root in (self.data, self.runs) if root and (root / name).is_dir()]
        return read_examples((roots or [self.data])[0] / name / f"{split}.jsonl")

    def set(self, name: str, split: str = "train") -> TrainingSet:
        """A split with the types of the train split; types the scoring leaves out teach nothing."""
        return training_set(name, self.examples(name, split), None if split == "train" else self.types(name))

    def types(self, name: str) -> tuple[EntityType, ...]:
        """The types that the train split annotates."""
        return self.set(name).types


def domains(settings: Path = POOL_DATA, only: Sequence[str] | None = None) -> dict[str, list[str]]:
    """The domains, each with the names of its data sets.

    Args:
        settings: File of settings; see ``read_settings``.
        only: These domains alone.

    Raises:
        SamnerError: If one is not known.
    """
    known = read_settings(settings)["domains"]
    if unknown := set(only or ()) - set(known):
        raise SamnerError(f"no domain {min(unknown)!r} in {settings}; there are {', '.join(known)}")
    return {name: list(known[name]) for name in only or known}


def read_settings(path: Path) -> dict[str, Any]:
    """A file of settings; one that says ``like: other.yaml`` holds only what differs from that."""
    settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    like = settings.pop("like", None)
    return over(read_settings(path.parent / like), settings) if like else settings


def over(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of their values replaced that changes name, at any depth."""
    replaced = {
        key: over(settings[key], value)
        if isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
        else value
        for key, value in changes.items()
    }
    return {**settings, **replaced}
