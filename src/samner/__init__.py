"""samner: select and merge per-domain NER experts into one recogniser for a domain nobody labelled.

Example:
    >>> from samner import ExpertPool, adapt
    >>> pool = ExpertPool.load("builtin")
    >>> model = adapt(pool, texts=["Aspirin relieves headache."], labels=["drug", "disease"])
    >>> [entity["text"] for entity in model.predict_entities("Aspirin relieves headache.")]
    ['Aspirin', 'headache']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samner.adaptation import adapt
    from samner.distillation import distil
    from samner.entities import Entity, EntityType, Example
    from samner.errors import SamnerError
    from samner.pool import ExpertPool
    from samner.prediction import Prediction
    from samner.task_model import TaskModel

# Loaded when first asked for: torch and what is on top of it take seconds to import.
_HOME = {
    "Entity": "samner.entities",
    "EntityType": "samner.entities",
    "Example": "samner.entities",
    "ExpertPool": "samner.pool",
    "Prediction": "samner.prediction",
    "SamnerError": "samner.errors",
    "TaskModel": "samner.task_model",
    "adapt": "samner.adaptation",
    "distil": "samner.distillation",
}

__all__ = [
    "Entity",
    "EntityType",
    "Example",
    "ExpertPool",
    "Prediction",
    "SamnerError",
    "TaskModel",
    "adapt",
    "distil",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'samner' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
