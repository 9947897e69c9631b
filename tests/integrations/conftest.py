"""A model that looks words up, and one that is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samner.entities import entity_types
from samner.task_model import TaskModel

PHRASES = {
    "Ada Moreno": ("person", 0.9),
    "Moreno": ("family name", 0.7),
    "Aspirin": ("drug", 0.8),
    "headache.": ("disease", 0.6),
    "4111": ("drug", 0.55),
}
LABELS = ("person", "drug", "disease", "family name")


@pytest.fixture
def model(lookup_backbone: Callable[..., Any]) -> TaskModel:
    """Finds the words of ``PHRASES`` between blanks."""
    from samner.task_model import Merge

    backbone = lookup_backbone({"one": PHRASES})
    merges = {"similarity": Merge({"a": 1.0}, "one"), "sampling": Merge({"b": 1.0}, "one")}
    return TaskModel(backbone, Path("base"), entity_types(LABELS), "union", merges, {})


@pytest.fixture(scope="session")
def saved(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model adapted from the tiny pool; read only."""
    from samner import ExpertPool, adapt

    folder = tmp_path_factory.mktemp("adapted") / "model"
    texts = ["Aspirin relieves headache within hours.", "Ada Moreno scored twice for Rovers on Sunday."]
    adapt(ExpertPool.load(tiny_pool), texts, ["drug", "disease", "person", "team"], experts=2).save(folder)
    return folder
