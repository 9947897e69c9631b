"""What is served: saved models and pools by their names, and the models that were adapted since."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from samner.pool import ExpertPool
from samner.serving.errors import ApiError
from samner.task_model import TaskModel

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of models and pools."""


@dataclass
class Catalog:
    """The models and pools that requests may name; safe for threads.

    Args:
        models: Saved models, the first of which is asked where none is named.
        pools: Pools that may be adapted, the first where none is named.
        kept: How many adapted models are kept; of more, the one that was not asked for longest goes.
    """

    models: Mapping[str, TaskModel] = field(default_factory=dict)
    pools: Mapping[str, ExpertPool] = field(default_factory=dict)
    kept: int = 4

    def __post_init__(self) -> None:
        self._adapted: OrderedDict[str, TaskModel] = OrderedDict()
        self._lock = threading.Lock()

    def model(self, name: str | None) -> tuple[str, TaskModel]:
        """A model by its name, and that name.

        Raises:
            ApiError: If there is none.
        """
        with self._lock:
            if name is None:
                name = next(iter([*self.models, *self._adapted]), None)
            if name is None:
                raise ApiError(404, "there is no model yet; POST /v1/adapt makes one", "model")
            if name in self._adapted:
                self._adapted.move_to_end(name)
            found = self.models.get(name) or self._adapted.get(name)
        if found is None:
            if name in self.pools:
                raise ApiError(404, f"{name!r} is a pool; POST /v1/adapt makes a model of it", "model")
            known = ", ".join(self.names()) or "none"
            raise ApiError(404, f"there is no model {name!r}; there is: {known}", "model")
        return name, found

    def pool(self, name: str | None) -> tuple[str, ExpertPool]:
        """A pool by its name, and that name.

        Raises:
            ApiError: If there is none.
        """
        name = next(iter(self.pools), None) if name is None else name
        if name is None:
            raise ApiError(404, "this server has no pool to adapt; start it with --pool", "pool")
        if name not in self.pools:
            raise ApiError(404, f"there is no pool {name!r}; there is: {', '.join(self.pools) or 'none'}", "pool")
        return name, self.pools[name]

    def names(self) -> list[str]:
        """Of all models."""
        with self._lock:
            return [*self.models, *self._adapted]

    def peek(self, name: str) -> TaskModel:
        """A model by its name, which does not count as asking for it.

        Raises:
            KeyError: If there is none.
        """
        with self._lock:
            return self.models[name] if name in self.models else self._adapted[name]

    def keeps(self, name: str, model: TaskModel | None) -> bool:
        """Whether it is this adapted model that is served under a name."""
        with self._lock:
            return model is not None and self._adapted.get(name) is model

    def keep(self, name: str, model: TaskModel) -> None:
        """Serve an adapted model under its name, in place of the one that was not asked for longest if need be."""
        with self._lock:
            self._adapted[name] = model
            while len(self._adapted) > self.kept:
                self._adapted.popitem(last=False)  # its memory goes with the last request that asks it

    def drop(self, name: str, model: TaskModel | None) -> None:
        """Serve an adapted model no longer, if it is the one of that name."""
        with self._lock:
            if model is not None and self._adapted.get(name) is model:
                del self._adapted[name]
