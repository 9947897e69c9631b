"""The merge methods and their register.

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
from samner.merging.combine import elected_mean, weighted_mean
from samner.merging.sparsify import Expert, dense, dropped, global_threshold, trimmed, trimmed_by_tensor


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


@dataclass(frozen=True, kw_only=True)
class DareMethod(SparseMethod):
    """A method that drops values at random: ``seed`` decides which (default 0)."""

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise SamnerError(f"seed must be a whole number, not {self.seed!r}")


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
        name: {parameter.name: parameter.default for parameter in fields(method)} for name, method in _METHODS.items()
    }


def make_method(name: str, params: dict[str, object]) -> MergeMethod:
    """The method of that name with these parameters.

    Raises:
        SamnerError: If the name or a parameter is unknown, or a value is out of range.
    """
    if name not in _METHODS:
        raise SamnerError(f"unknown merge method {name!r}; known are {', '.join(_METHODS)}")
    known = methods()[name]
    for parameter in params:
        if parameter not in known:
            raise SamnerError(
                f"the merge method {name!r} has no parameter {parameter!r}; it has {', '.join(sorted(known))}"
            )
    return _METHODS[name](**params)  # type: ignore[arg-type]  # each method checks its own values


@merge_method("ties")
@dataclass(frozen=True, kw_only=True)
class Ties(SparseMethod):
    """TIES: trim, elect sign, disjoint mean (Yadav et al. 2023, arXiv 2306.01708).

    Per expert ``x_i = top(dW_i)`` keeps the ``density`` largest magnitudes; per position
    ``g = sign(sum_i w_i x_i)`` and ``dW = lam * sum_{sign(x_i) = g}(w_i x_i) / sum_{sign(x_i) = g}(w_i)``.

    With equal weights this is the original code's ``topk``, ``mass``, ``dis-mean`` on full flattened task vectors,
    but for the count kept: exactly ``round(density * n)`` here, ties going to the first in module-name order.

    Args:
        density: Share of values kept; default 0.2, the paper's.
        lam: Scale of the result; default 1.0, the paper's.
        scope: ``"global"`` (default) counts over all modules of the expert, as the original code does; ``"tensor"``
            over each module alone, as PEFT and mergekit do.
    """

    scope: str = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope not in ("global", "tensor"):
            raise SamnerError(f"scope must be 'global' or 'tensor', not {self.scope!r}")

    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged ``dW``); global scope makes two passes over each expert first."""
        if self.scope == "tensor":
            return elected_mean(lambda: trimmed_by_tensor(experts, self.density), self.lam)
        limits = [global_threshold(adapter, self.density) for adapter, _ in experts]
        return elected_mean(lambda: trimmed(experts, limits), self.lam)


@merge_method("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(MergeMethod):
    """Task arithmetic as a weighted mean (Ilharco et al. 2023, arXiv 2212.04089).

    ``dW = lam * sum_i(w_i dW_i) / sum_i(w_i)``; the paper's sum of k task vectors is ``lam = k``.

    Args:
        lam: Scale of the result; default 1.0.
    """

    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged ``dW``) in one pass."""
        return weighted_mean(dense(experts), _total(experts), self.lam)


@merge_method("dare_linear")
@dataclass(frozen=True, kw_only=True)
class DareLinear(DareMethod):
    """DARE, then the weighted mean (Yu et al. 2024, arXiv 2311.03099).

    ``x_i = m_i * dW_i / density`` with ``m_i ~ Bernoulli(density)`` by position (the paper's drop rate is
    ``p = 1 - density``), then :class:`Linear` over the ``x_i``.

    Args:
        density: Share of values kept on average; default 0.2.
        lam: Scale of the result; default 1.0.
        seed: Decides with the module's name and the adapter's content what is dropped; default 0.
    """

    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged ``dW``) in one pass."""
        return weighted_mean(dropped(experts, self.density, self.seed), _total(experts), self.lam)


@merge_method("dare_ties")
@dataclass(frozen=True, kw_only=True)
class DareTies(DareMethod):
    """DARE in the place of trimming, then the sign election and disjoint mean of TIES (arXiv 2311.03099, 2306.01708).

    ``x_i = m_i * dW_i / density`` as in :class:`DareLinear`, then ``g`` and ``dW`` as in :class:`Ties`. PEFT and
    mergekit combine the two in the same way; the paper's code trims after dropping.

    Args:
        density: Share of values kept on average; default 0.2.
        lam: Scale of the result; default 1.0.
        seed: Decides with the module's name and the adapter's content what is dropped; default 0.
    """

    def merge(self, experts: Sequence[Expert]) -> Iterator[tuple[str, Tensor]]:
        """Yield (module, merged ``dW``) in one pass."""
        return elected_mean(lambda: dropped(experts, self.density, self.seed), self.lam)


def is_number(value: object) -> bool:
    """Whether a value that a user gave is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _total(experts: Sequence[Expert]) -> float:
    return sum(weight for _, weight in experts)
