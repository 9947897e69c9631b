"""Merges and task models as files that other programs load: PEFT, transformers, vLLM, llama.cpp."""

from __future__ import annotations

from samner.export.merged import export_merge
from samner.export.sources import Source, named_base
from samner.export.targets import AdapterTarget, DeltaTarget, FusedTarget, Target
from samner.export.task_model import KINDS, export_task_model

__all__ = [
    "KINDS",
    "AdapterTarget",
    "DeltaTarget",
    "FusedTarget",
    "Source",
    "Target",
    "export_merge",
    "export_task_model",
    "named_base",
]
