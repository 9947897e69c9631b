"""Base models that can be trained, adapted and asked, one folder per family behind one interface.

In come a folder with a ``base.json``, experts (PEFT folders) and task vectors; out go the candidate entities that each
of several models finds in texts of any length. It may import the ground floor and ``data``; what is above it knows
``Backbone``, and no family.
"""

from __future__ import annotations

from samner.backbones.base import BASE, Backbone, LazyDeltas
from samner.backbones.families import is_server, load_backbone, usable_device
from samner.backbones.training import TrainingData, TrainingRecipe, TrainingSet

__all__ = [
    "BASE",
    "Backbone",
    "LazyDeltas",
    "TrainingData",
    "TrainingRecipe",
    "TrainingSet",
    "is_server",
    "load_backbone",
    "usable_device",
]
