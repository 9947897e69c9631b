"""What a merge method is, and the register of them.

A method is a frozen dataclass: its fields are its parameters, checked when it is made. To add one, write such a class
under ``@merge_method("name")``; ``merge(adapters, "name", parameter=...)`` finds it. A package can bring its own: an
entry point of the group ``samner.merge_methods`` names the class, undecorated, under the name of the method.

In every method weights are relative (only their ratios matter) and ``lam`` scales the result. One expert at density 1
and ``lam`` 1 comes out as it went in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from samner.errors import SamnerError
from samner.lora import LoraFactors
from samner.merging.task_vectors import TaskVectors, Tile

ENTRY_POINTS = "samner.merge_methods"

TileRule: TypeAlias = Callable[[Tile], Tensor]
"""Gives the merged values of a tile, float32 of shape (rows, in), good until it is called again; in any order."""


@dataclass(frozen=True, kw_only=True)
class MergeMethod:
    """What every method has: the parameter ``lam``, the scale of the merged task vector (default 1.0).

    A method is a :class:`DenseMethod` or a :class:`LowRankMethod`.
    """

    lam: float = 1.0

    def __post_init__(self) -> None:
        if not is_number(self.lam):
            raise SamnerError(f"lam must be a finite number, not {self.lam!r}")


@dataclass(frozen=True, kw_only=True)
class DenseMethod(MergeMethod, ABC):
    """A method that works on the values of the dense task vectors."""

    @abstractmethod
    def rule(self, vectors: TaskVectors) -> TileRule:
        """What merges one tile. Passes over the task vectors that come first, for thresholds say, are made here."""


@dataclass(frozen=True, kw_only=True)
class LowRankMethod(MergeMethod, ABC):
    """A method whose result has low rank and is computed without a dense matrix."""

    @abstractmethod
    def factors(self, vectors: TaskVectors, module: str) -> LoraFactors:
        """The merged task vector of a module, exactly."""


@dataclass(frozen=True, kw_only=True)
class SparseMethod(MergeMethod):
    """A method, dense or of low rank, that makes each task vector sparse first.

    ``density`` is the share of values kept (default 0.2).
    """

    density: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.density) or not 0 < self.density <= 1:
            raise SamnerError(f"density must be above 0 and at most 1, not {self.density!r}")


METHODS: dict[str, type[MergeMethod]] = {}
"""The merge methods of samner itself, by name; ``methods`` names those of installed packages too."""

_Method = TypeVar("_Method", bound=type[MergeMethod])


def merge_method(name: str) -> Callable[[_Method], _Method]:
    """Register a merge method, a frozen dataclass derived from :class:`MergeMethod`, under a name.

    Raises:
        SamnerError: If the name is taken.
    """

    def register(method: _Method) -> _Method:
        if name in METHODS:
            raise SamnerError(_taken(name))
        METHODS[name] = method
        return method

    return register


def methods() -> dict[str, dict[str, object]]:
    """The merge methods by name, each with its parameters and their defaults.

    Raises:
        SamnerError: If a package's entry point cannot be loaded or is not a merge method.
    """
    return {
        name: {parameter.name: parameter.default for parameter in fields(method)}
        for name, method in sorted(_known().items())
    }


def make_method(name: object, params: dict[str, object]) -> MergeMethod:
    """The method of that name with these parameters.

    Raises:
        SamnerError: If the name or a parameter is unknown, or a value is out of range.
    """
    known = methods()
    if not isinstance(name, str) or name not in known:
        raise SamnerError(f"unknown merge method {name!r}; known are {', '.join(known)}")
    for parameter in params:
        if parameter not in known[name]:
            raise SamnerError(
                f"the merge method {name!r} has no parameter {parameter!r}; it has {', '.join(sorted(known[name]))}"
            )
    return _known()[name](**params)  # type: ignore[arg-type]  # each method checks its own values


def suited(method: str, suit: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters that suit some experts, as a pool names them, those that a method has.

    Raises:
        SamnerError: If one is of no method, or a value is out of range.
    """
    known = methods()
    if unknown := set(suit).difference(*known.values()):
        raise SamnerError(f"'merge' names {min(unknown)!r}, which is no parameter of any merge method")
    own = {name: value for name, value in suit.items() if name in known[method]}
    try:
        make_method(method, dict(own))
    except SamnerError as error:
        raise SamnerError(f"'merge': {error}") from error
    return own


def _known() -> dict[str, type[MergeMethod]]:
    return {**METHODS, **installed()}


@cache
def installed() -> dict[str, type[MergeMethod]]:
    """The merge methods that installed packages bring, by name.

    Raises:
        SamnerError: If an entry point cannot be loaded, is not a merge method, or has a name that is taken.
    """
    found: dict[str, type[MergeMethod]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            method = point.load()
        except Exception as error:  # another package's code: anything may go wrong in it
            raise SamnerError(
                f"the merge method {point.name!r} of {point.value} cannot be loaded ({error})"
            ) from error
        if not (isinstance(method, type) and issubclass(method, DenseMethod | LowRankMethod)):
            raise SamnerError(f"merge method {point.name!r} ({point.value}) is not a DenseMethod or LowRankMethod")
        if point.name in METHODS or found.get(point.name, method) is not method:
            raise SamnerError(_taken(point.name))
        found[point.name] = method
    return found


def _taken(name: str) -> str:
    return f"there is a merge method named {name!r} already"


def is_number(value: object) -> bool:
    """Whether a value that a user gave is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
