"""One batch read by several models at once, over one copy of the base.

The rows of a batch belong to the base, to experts or to task models. Each linear layer sees all rows: it serves those
of the base and of experts together and adds each expert's low-rank product to its rows, and it serves a task model's
rows with that model's own weight. PEFT's ``adapter_names`` would do for experts, but not for dense task vectors; one
way for both is simpler, leaves the base a plain model that others may wrap, and is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from samner.backbones.base import BASE
from samner.errors import ModelError
from samner.lora import LoraAdapter


class _Change(NamedTuple):
    """Rows from ``start`` to ``stop`` (exclusive) and what they need: factors A and scaled B, or a whole weight."""

    start: int
    stop: int
    factors: tuple[Tensor, Tensor] | None
    weight: Tensor | None


class MixedModels:
    """The experts and task models on the linear layers of a base.

    Args:
        linears: The base's adaptable layers by name.
    """

    def __init__(self, linears: Mapping[str, nn.Linear]) -> None:
        self._linears = linears
        self._factors: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
        self._deltas: dict[str, Mapping[str, Tensor]] = {}
        self._weights: dict[str, dict[str, Tensor]] = {}

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The (out, in) shape of each layer's weight."""
        return {name: (layer.out_features, layer.in_features) for name, layer in self._linears.items()}

    @property
    def names(self) -> Collection[str]:
        """Of all experts and task models."""
        return self._factors.keys() | self._deltas.keys()

    def is_task_model(self, name: str) -> bool:
        """Whether a name is of a task model, not of an expert or the base."""
        return name in self._deltas

    def add_expert(self, name: str, adapter: LoraAdapter) -> None:
        """Put a LoRA adapter on the base.

        Raises:
            ModelError: If the name is taken or the adapter does not fit.
        """
        self._check(name, {module: factors.shape for module, factors in adapter.factors.items()})
        self._factors[name] = {}
        for module, factors in adapter.factors.items():
            like = self._like(module)
            self._factors[name][module] = (factors.a.to(**like), (factors.b.float() * factors.scale).to(**like))

    def add_task_model(self, name: str, deltas: Mapping[str, Tensor]) -> None:
        """Put dense task vectors on the base; its weights with them added are made when they are first needed.

        Raises:
            ModelError: If the name is taken or a task vector does not fit.
        """
        self._check(name, {module: (delta.shape[0], delta.shape[1]) for module, delta in deltas.items()})
        self._deltas[name] = dict(deltas)

    def deltas(self, name: str) -> Mapping[str, Tensor]:
        """The task vectors that ``add_task_model`` was given."""
        return self._deltas[name]

    def remove(self, name: str) -> None:
        """Forget an expert or task model; unknown names are ignored."""
        for held in (self._factors, self._deltas, self._weights):
            held.pop(name, None)

    @contextmanager
    def rows(self, models: Sequence[str]) -> Iterator[None]:
        """Within, row i of every batch is read by ``models[i]``; a model's rows lie together.

        A layer that sees rows flattened (batch and sequence in one dimension) is served as well.
        """
        changes: dict[str, list[_Change]] = {}
        start = 0
        for model, group in groupby(models):
            stop = start + len(list(group))
            for module, factors in self._factors.get(model, {}).items():
                changes.setdefault(module, []).append(_Change(start, stop, factors, None))
            for module, weight in self._fused(model).items():
                changes.setdefault(module, []).append(_Change(start, stop, None, weight))
            start = stop
        before = {module: vars(self._linears[module]).get("forward") for module in changes}
        try:
            for module, parts in changes.items():
                layer = self._linears[module]
                layer.forward = partial(_forward, layer.forward, layer.bias, parts, start)  # type: ignore[method-assign]
            yield
        finally:
            for module, forward in before.items():
                if forward is None:
                    vars(self._linears[module]).pop("forward", None)
                else:  # of accelerate, where it spreads a model over devices
                    self._linears[module].forward = forward  # type: ignore[method-assign]

    def _fused(self, model: str) -> Mapping[str, Tensor]:
        if model not in self._deltas:
            return {}
        if model not in self._weights:
            from peft.utils.integrations import dequantize_module_weight

            self._weights[model] = {}
            for module, delta in self._deltas[model].items():
                weight = dequantize_module_weight(self._linears[module]).detach()
                self._weights[model][module] = (weight.float() + delta.to(weight.device)).to(**self._like(module))
        return self._weights[model]

    def _like(self, module: str) -> dict[str, Any]:
        """Type and device in which a layer computes."""
        weight = self._linears[module].weight
        dtype = weight.dtype if weight.dtype.is_floating_point else torch.get_default_dtype()
        return {"device": weight.device, "dtype": getattr(self._linears[module], "compute_dtype", None) or dtype}

    def _check(self, name: str, shapes: Mapping[str, tuple[int, int]]) -> None:
        if name == BASE or name in self.names:
            raise ModelError(f"the name {name!r} is taken on this base")
        mine = self.shapes
        for module, shape in shapes.items():
            if mine.get(module) != shape:
                have = mine.get(module, "no such module")
                raise ModelError(f"the task vector of {module!r} is {shape}, this base has {have}")


def _forward(
    plain: Callable[[Tensor], Tensor], bias: Tensor | None, changes: Sequence[_Change], rows: int, x: Tensor
) -> Tensor:
    """What a linear layer answers.

    Args:
        plain: The layer of the base.
        bias: Of the layer.
        changes: In the order of their rows.
        rows: Of the batch.
        x: ``rows`` x ... x in, or with the first dimensions in one.
    """
    scale = len(x) // rows
    parts: list[Tensor] = []
    done = 0  # rows answered so far
    pending: list[_Change] = []  # experts among the rows since

    def flush(stop: int) -> None:
        nonlocal done
        if stop > done:
            answer = plain(x[done * scale : stop * scale])
            for change in pending:
                assert change.factors is not None
                a, b = change.factors
                read = x[change.start * scale : change.stop * scale].to(a.dtype)
                answer[(change.start - done) * scale : (change.stop - done) * scale] += linear(linear(read, a), b)
            parts.append(answer)
        pending.clear()
        done = stop

    for change in changes:
        if change.weight is None:
            pending.append(change)
        else:
            flush(change.start)
            read = x[change.start * scale : change.stop * scale].to(change.weight.dtype)
            parts.append(linear(read, change.weight, bias))
            done = change.stop
    flush(rows)
    return parts[0] if len(parts) == 1 else torch.cat(parts)
