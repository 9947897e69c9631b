"""Experts at rest: a base model and the LoRA adapters trained on it, as a folder.

A folder, a shipped pool's name or a hub id comes in; cards, adapters' factors and a loaded base go out. May import
``merging``, ``backbones``, ``pools`` and the ground floor.
"""

from __future__ import annotations

from samner.pool.card import DataSource, ExpertCard, PoolCard
from samner.pool.cards import Cards
from samner.pool.pool import ExpertPool
from samner.pool.pull import Pulled, pull
from samner.pool.snapshot import PoolSnapshot

__all__ = ["Cards", "DataSource", "ExpertCard", "ExpertPool", "PoolCard", "PoolSnapshot", "Pulled", "pull"]
