"""What can be exported: merged task vectors, whether they are just being merged or come from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from torch import Tensor

from samner.lora import LoraFactors


class Deltas(Protocol):
    """Merged task vectors of a model, by module."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Shape (out, in) of each module, in the order of their names."""

    @property
    def low_rank(self) -> bool:
        """Whether they have low rank, so that ``factors`` gives them."""

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(module, ``dW``) of some modules, in the order given, or of all; float32 on the CPU, one at a time."""

    def factors(self, module: str) -> LoraFactors:
        """The task vector of a module as factors, exactly; only if ``low_rank``."""
