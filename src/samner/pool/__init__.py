"""Experts at rest: a base model and the LoRA adapters trained on it, as a folder."""

from __future__ import annotations

from samner.pool.card import DataSource, ExpertCard
from samner.pool.pool import ExpertPool

__all__ = ["DataSource", "ExpertCard", "ExpertPool"]
