"""Base models that can be trained, adapted and asked, one folder per family behind one interface."""

from __future__ import annotations

from samner.backbones.base import BASE, Backbone, TrainingData, TrainingSet
from samner.backbones.families import is_server, load_backbone, usable_device

__all__ = ["BASE", "Backbone", "TrainingData", "TrainingSet", "is_server", "load_backbone", "usable_device"]
