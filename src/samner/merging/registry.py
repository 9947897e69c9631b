"""What a merge method is, and the register of them.

A method is a frozen dataclass: its fields are its parameters, checked when it is made. To add one, write such a class
under ``@merge_method("name")``; ``merge(adapters, "name", parameter=...)`` finds it.

In every method weights are relative (only their ratios matter) and ``lam`` scales the result. One expert at density 1
and ``lam`` 1 comes out as it went in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from torch import Tensor

from samner.errors import SamnerError
from samner.merging.sparsify import Expert


@dataclass(frozen=True, kw_only=True)
class MergeMethod(ABC):
    """What every method has: the parameter ``lam``, the scale of the merged task vector (default 1.0)."""

    lam: float = 1.0

    def __post_init__(self) -> None:
        if not is_number(self.lam):
            raise SamnerError(f"lam must be a finite number, not {self.lam!r}")

    @abstractmethod
    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged float32 ``dW``) in the order of the modules' names."""


@dataclass(frozen=True, kw_only=True)
class SparseMethod(MergeMethod):
    """A method that first makes each task vector sparse: ``density`` is the share of values kept (default 0.2)."""

    density: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.density) or not 0 < self.density <= 1:
            raise SamnerError(f"density must be above 0 and at most 1, not {self.density!r}")


_METHODS: dict[str, type[MergeMethod]] = {}

_Method = TypeVar("_Method", bound=type[MergeMethod])


def merge_method(name: str) -> Callable[[_Method], _Method]:
    """Register a merge method, a frozen dataclass derived from :class:`MergeMethod`, under a name.

    Raises:
        SamnerError: If the name is taken.
    """

    def register(method: _Method) -> _Method:
        if name in _METHODS:
            raise SamnerError(f"there is a merge method named {name!r} already")
        _METHODS[name] = method
        return method

    return register


def methods() -> dict[str, dict[str, object]]:
    """The merge methods by name, each with its parameters and their defaults."""
    return {
        name: {parameter.name: parameter.default for parameter in fields(method)}
        for name, method in sorted(_METHODS.items())
    }


def make_method(name: str, params: dict[str, object]) -> MergeMethod:
    """The method of that name with these parameters.

    Raises:
        SamnerError: If the name or a parameter is unknown, or a value is out of range.
    """
    if name not in _METHODS:
        raise SamnerError(f"unknown merge method {name!r}; known are {', '.join(sorted(_METHODS))}")
    known = methods()[name]
    for parameter in params:
        if parameter not in known:
            raise SamnerError(
                f"the merge method {name!r} has no parameter {parameter!r}; it has {', '.join(sorted(known))}"
            )
    return _METHODS[name](**params)  # type: ignore[arg-type]  # each method checks its own values


def is_number(value: object) -> bool:
    """Whether a value that a user gave is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
