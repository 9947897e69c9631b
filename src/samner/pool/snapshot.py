"""The experts of a pool at one moment, kept for whoever began with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import finalize

from samner.backbones import Backbone
from samner.errors import PoolError
from samner.lora import LoraAdapter
from samner.pool.card import EXPERTS, ExpertCard

if TYPE_CHECKING:
    from samner.pool.pool import ExpertPool


class PoolSnapshot:
    """The experts of a pool as they were at one moment, whatever is added and removed meanwhile; safe for threads.

    The files of an expert that the same pool object removes are deleted with the last snapshot that has it. One that
    is removed or replaced by another process is an error when it is needed.

    Args:
        pool: The pool.

    Attributes:
        experts: The cards by name.
    """

    def __init__(self, pool: ExpertPool) -> None:
        self._pool = pool
        self._removed: dict[str, Removed] = {}
        self.experts = pool.experts
        self.folder = pool.folder
        self.merge = pool.merge

    @property
    def backbone(self) -> Backbone:
        """The base model, loaded on first use."""
        return self._pool.backbone

    @property
    def base_types(self) -> frozenset[str]:
        """As ``ExpertPool.base_types``."""
        return self._pool.base_types

    def adapter(self, name: str) -> LoraAdapter:
        """As ``ExpertPool.adapter``."""
        with self._pool._lock:  # no expert is removed while it is read
            return self._pool._adapter(name, *self._sound(name))

    def asked(self, names: Iterable[str]) -> Backbone:
        """The base model with these experts on it, so that it can answer as each of them for as long as it is held.

        Raises:
            PoolError, ModelError: As ``adapter``.
        """
        with self._pool._lock:
            here, gone = {}, []
            for name in names:
                folder, card = self._sound(name)
                if folder.parent == self.folder / EXPERTS and not folder.name.startswith("."):
                    here[name] = (folder, card)
                else:
                    gone.append((name, folder, card.types))
            base = self._pool._lend(here)
        for expert in gone:
            base.add_expert(*expert)
        return base

    def _has(self, name: str) -> bool:
        """Whether an expert's files are those that this saw, where they were."""
        return name in self.experts and name not in self._removed

    def _keep(self, name: str, removed: Removed) -> None:
        """Tell where the files of an expert are now, which are kept as long as this."""
        self._removed[name] = removed

    def _sound(self, name: str) -> tuple[Path, ExpertCard]:
        kept = self._removed.get(name)
        folder, card = self._pool._sound(kept.folder if kept else self._pool.expert_folder(name))
        if name in self.experts and card.files != self.experts[name].files:
            raise PoolError(f"the expert {name!r} was replaced in {self.folder} from elsewhere just now")
        return folder, card


class Removed:
    """The files of a removed expert, which are deleted with the last reference to this."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
