"""One batch read by several models at once, over one copy of the base.

The rows of a batch belong to the base, to experts or to task models. Each linear layer sees all rows: it serves those
of the base and of experts together and adds each expert's low-rank product to its rows, and it serves a task model's
rows with that model's own weight. PEFT's ``adapter_names`` would do for experts, but not for dense task vectors; one
way for both is simpler, leaves the base a plain model that others may wrap, and is faster.

Which row belongs to whom is an argument of the pass: a context variable, of which each thread has its own. Layers
learn to look at it once, when the base is loaded, and nothing that threads share is changed while models are asked.
Outside of a pass, so also in training, a layer is what it was; within, it may multiply in eight bits.
"""

from __future__ import annotations

import copy
import ctypes
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from samner.backbones.base import BASE, Backbone, LazyDeltas, shapes_of
from samner.backbones.int8 import Columns, Int8Input, Int8Weight
from samner.errors import ModelError
from samner.lora import LoraAdapter


@dataclass(slots=True)
class _Rows:
    """Which rows of a batch a layer answers how, each as (start, stop, ...) with an exclusive stop.

    Args:
        plain: By the base, where a task model answers others.
        products: By the base and factors A and scaled B.
        weights: By a weight of their own.
        eights: By one in eight bits.
    """

    plain: list[tuple[int, int]] = field(default_factory=list)
    products: list[tuple[int, int, Tensor, Tensor]] = field(default_factory=list)
    weights: list[tuple[int, int, Tensor]] = field(default_factory=list)
    eights: list[tuple[int, int, Int8Weight]] = field(default_factory=list)

    def of(self, start: int) -> _Rows:
        """What there is of the model whose rows begin there, as of one row."""
        return _Rows(
            [],
            [(0, 1, a, b) for first, _, a, b in self.products if first == start],
            [(0, 1, weight) for first, _, weight in self.weights if first == start],
            [(0, 1, weight) for first, _, weight in self.eights if first == start],
        )


class _Eight(NamedTuple):
    """A layer of the base in eight bits, and the columns of its input that are taken apart."""

    columns: Columns
    weight: Int8Weight


class _Plan(NamedTuple):
    """How many rows the batches of a pass have, what changes for which of them, and what is in eight bits, by layer.

    ``blocks`` are the rows of each model, and ``alone`` where those begin that alone are read just now; ``last`` holds
    at most one input with its eight-bit form: layers that are given the same one follow each other.
    """

    rows: int
    layers: Mapping[nn.Module, _Rows]
    eights: Mapping[nn.Module, _Eight]
    last: list[tuple[Tensor, Int8Input]]
    blocks: tuple[tuple[int, int], ...]
    alone: int | None = None


_NOTHING = _Rows()
_PLAN: ContextVar[_Plan | None] = ContextVar("samner_rows", default=None)


@dataclass(eq=False, slots=True)
class _Model:
    """An expert (factors by module) or a task model (deltas by module, and the base's weights with them added)."""

    types: tuple[str, ...]
    factors: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    deltas: Mapping[str, Tensor] | None = None
    weights: Mapping[str, Tensor | Int8Weight] | None = None
    fusing: threading.Lock = field(default_factory=threading.Lock)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.types, self.factors, self.deltas  # the weights are made again when they are needed

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.types, self.factors, self.deltas = state
        self.weights, self.fusing = None, threading.Lock()


class MixedModels:
    """The experts and task models on the linear layers of a base; safe for threads.

    Args:
        linears: The base's adaptable layers by name.
    """

    def __init__(self, linears: Mapping[str, nn.Linear]) -> None:
        self._linears = dict(linears)
        self._eights: dict[nn.Module, _Eight] = {}
        self._models: dict[str, _Model] = {}  # only ever changed by single operations, which need no lock
        for layer in self._linears.values():
            # what is there may be accelerate's, where it spreads a model over devices
            layer.forward = partial(_forward, layer, layer.forward)  # type: ignore[method-assign]

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """The (out, in) shape of each layer's weight."""
        return {name: (layer.out_features, layer.in_features) for name, layer in self._linears.items()}

    @property
    def names(self) -> Collection[str]:
        """Of all experts and task models."""
        return list(self._models)

    def is_task_model(self, name: str) -> bool:
        """Whether a name is of a task model, not of an expert or the base."""
        model = self._models.get(name)
        return model is not None and model.deltas is not None

    def quantize(self, read: Callable[[], object]) -> None:
        """Multiply in eight bits from now on, in passes; before there is any model.

        Args:
            read: Has the base read some texts, in which the columns of outliers are seen.
        """
        peaks: dict[nn.Module, Tensor] = {}

        def look(layer: nn.Module, given: tuple[Tensor]) -> None:
            peak = given[0].abs().flatten(0, -2).amax(0).float()
            peaks[layer] = torch.maximum(peaks[layer], peak) if layer in peaks else peak

        hooks = [layer.register_forward_pre_hook(look) for layer in self._linears.values()]
        try:
            read()
        finally:
            for hook in hooks:
                hook.remove()
        for layer in self._linears.values():
            columns = Columns.largest(peaks[layer])
            self._eights[layer] = _Eight(columns, Int8Weight.of(layer.weight.detach(), columns, layer.weight.dtype))

    def add_expert(self, name: str, adapter: LoraAdapter, types: Sequence[str] = ()) -> None:
        """Put a LoRA adapter on the base.

        Args:
            name: For ``rows``.
            adapter: Its factors.
            types: Prompts of the types it was taught.

        Raises:
            ModelError: If the name is taken or the adapter does not fit.
        """
        adapter = adapter.on_base(self.shapes)
        self._check(name, {module: factors.shape for module, factors in adapter.factors.items()})
        factors = {}
        for module, pair in adapter.factors.items():
            like = self._like(module)
            factors[module] = (pair.a.to(**like), (pair.b.float() * pair.scale).to(**like))
        self._add(name, _Model(tuple(types), factors))

    def add_task_model(self, name: str, deltas: Mapping[str, Tensor], types: Sequence[str] = ()) -> None:
        """Put dense task vectors on the base; its weights with them added are made when they are first needed.

        Args:
            name: For ``rows``.
            deltas: Module name to its task vector, out x in.
            types: Prompts of the types that the merged experts were taught.

        Raises:
            ModelError: If the name is taken or a task vector does not fit.
        """
        self._check(name, shapes_of(deltas))
        deltas = deltas if isinstance(deltas, LazyDeltas) else dict(deltas)
        self._add(name, _Model(tuple(types), deltas=deltas))

    def deltas(self, name: str) -> Mapping[str, Tensor]:
        """The task vectors that ``add_task_model`` was given.

        Raises:
            ModelError: If there is no task model of that name.
        """
        deltas = self._model(name).deltas
        if deltas is None:
            raise ModelError(f"{name!r} is not a task model of this base")
        return deltas

    def prepare(self, name: str) -> None:
        """Make a task model's weights, if that is not done.

        Raises:
            ModelError: If there is no model of that name, or its task vectors can no longer be read.
        """
        self._fused(self._model(name))

    def types(self, name: str) -> tuple[str, ...]:
        """What an expert or task model was taught, as it was added; nothing for the base."""
        return () if name == BASE else self._model(name).types

    def remove(self, name: str) -> None:
        """Forget an expert or task model; unknown names are ignored, and a pass under way ends as it began."""
        model = self._models.pop(name, None)
        if model and model.deltas:
            del model
            give_back()

    def only(self, names: Collection[str]) -> MixedModels:
        """The same layers with only these models on them."""
        other = copy.copy(self)
        other._models = {name: self._model(name) for name in names}
        return other

    @contextmanager
    def rows(self, models: Sequence[str]) -> Iterator[None]:
        """Within, row i of every batch that this thread reads is read by ``models[i]``; a model's rows lie together.

        A layer that sees rows flattened (batch and sequence in one dimension) is served as well.

        Raises:
            ModelError: If there is no model of a name.
        """
        layers: dict[nn.Module, _Rows] = {}
        ranges = []
        start = 0
        for name, group in groupby(models):
            stop = start + len(list(group))
            model = None if name == BASE else self._model(name)
            if model:
                for module, factors in model.factors.items():
                    layers.setdefault(self._linears[module], _Rows()).products.append((start, stop, *factors))
                for module, weight in self._fused(model).items():
                    its = layers.setdefault(self._linears[module], _Rows())
                    if isinstance(weight, Int8Weight):
                        its.eights.append((start, stop, weight))
                    else:
                        its.weights.append((start, stop, weight))
            ranges.append((start, stop))
            start = stop
        for rows in layers.values():
            own = [part[:2] for part in (*rows.weights, *rows.eights)]
            ends, starts = [0, *(stop for _, stop in own)], [*(start for start, _ in own), start]
            rows.plain = [(one, other) for one, other in zip(ends, starts, strict=True) if one < other]
        token = _PLAN.set(_Plan(start, layers, self._eights, [], tuple(ranges)))
        try:
            yield
        finally:
            _PLAN.reset(token)

    def _fused(self, model: _Model) -> Mapping[str, Tensor | Int8Weight]:
        if not model.deltas:
            return {}
        if model.weights is not None:  # without waiting for others, which may take long
            return model.weights
        with model.fusing:
            if model.weights is None:
                # what stays is allocated before what is passing, between which it would leave holes of no use
                places = {
                    module: torch.empty(shape, **self._like(module))
                    for module, shape in shapes_of(model.deltas).items()
                    if self._linears[module] not in self._eights
                }
                weights: dict[str, Tensor | Int8Weight] = {}
                for module, delta in model.deltas.items():
                    layer = self._linears[module]
                    weight = _weight(layer).float() + delta.to(layer.weight.device)
                    if eight := self._eights.get(layer):
                        weights[module] = Int8Weight.of(weight, eight.columns, self._like(module)["dtype"])
                    else:
                        weights[module] = places[module].copy_(weight)
                model.weights = weights
                give_back()
            return model.weights

    def _model(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            raise ModelError(f"this base holds no model {name!r}")
        return model

    def _add(self, name: str, model: _Model) -> None:
        if self._models.setdefault(name, model) is not model:
            raise ModelError(_taken(name))

    def _like(self, module: str) -> dict[str, Any]:
        """Type and device in which a layer computes."""
        weight = self._linears[module].weight
        dtype = weight.dtype if weight.dtype.is_floating_point else torch.get_default_dtype()
        return {"device": weight.device, "dtype": getattr(self._linears[module], "compute_dtype", None) or dtype}

    def _check(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if name == BASE or name in self._models:
            raise ModelError(_taken(name))
        mine = self.shapes
        for module, shape in shapes.items():
            if mine.get(module) != shape:
                have = mine.get(module, "no such module")
                raise ModelError(f"the task vector of {module!r} is {shape}, this base has {have}")


class MixedBackbone(Backbone):
    """A backbone whose experts and task models lie on the linear layers of one model.

    Attributes:
        mixed: The experts and task models.
        types: Prompts of the types that the base was taught, by data set.
    """

    mixed: MixedModels
    types: Mapping[str, Sequence[str]]

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        return self.mixed.shapes

    def add_expert(self, name: str, folder: Path, types: Sequence[str] = ()) -> None:
        try:
            self.mixed.add_expert(name, LoraAdapter.load(folder), types)
        except ModelError as error:
            place = "" if str(folder) in str(error) else f"{folder}: "
            raise ModelError(f"{place}{error}") from error

    def add_task_model(self, name: str, deltas: Mapping[str, Tensor], types: Sequence[str] = ()) -> None:
        self.mixed.add_task_model(name, deltas, types)

    def task_vectors(self, name: str) -> Mapping[str, Tensor]:
        return self.mixed.deltas(name)

    def prepare(self, name: str) -> None:
        self.mixed.prepare(name)

    @property
    def models(self) -> Collection[str]:
        return self.mixed.names

    def remove(self, name: str) -> None:
        self.mixed.remove(name)

    def only(self, models: Collection[str]) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self), mixed=self.mixed.only(models))  # caches are shared, unlike in what is pickled
        return other

    def known_types(self) -> list[str]:
        return sorted({prompt for prompts in self.types.values() for prompt in prompts})


def give_back() -> None:
    """Let the system have the memory that was freed: C libraries keep it, and glibc can be asked."""
    with suppress(OSError, AttributeError, TypeError):  # another library, or a system without
        ctypes.CDLL(None).malloc_trim(0)


def blocks() -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of each model in this thread's pass; none outside of one.

    Until the next is asked for, all that is read is that model's: for what layers are given once for all rows.
    """
    plan = _PLAN.get()
    if plan is None:
        return
    for start, stop in plan.blocks:
        token = _PLAN.set(plan._replace(alone=start))
        try:
            yield start, stop
        finally:
            _PLAN.reset(token)


def _weight(layer: nn.Linear) -> Tensor:
    """A layer's weight, as numbers."""
    if layer.weight.dtype.is_floating_point:
        return layer.weight.detach()
    from peft.utils.integrations import dequantize_module_weight  # which takes seconds

    weight: Tensor = dequantize_module_weight(layer).detach()
    return weight


def _taken(name: str) -> str:
    return f"the name {name!r} is taken on this base"


def _forward(layer: nn.Linear, plain: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a linear layer answers.

    Args:
        layer: Of the base.
        plain: Its own answer.
        x: Rows x ... x in, or with the first dimensions in one.
    """
    plan = _PLAN.get()
    if plan is None:
        return plain(x)
    rows, eight = plan.layers.get(layer, _NOTHING), plan.eights.get(layer)
    if eight is None and rows is _NOTHING:
        return plain(x)
    shape, given, count = x.shape[:-1], x, plan.rows
    if plan.alone is not None:
        rows, count = rows.of(plan.alone), 1
    x = x.reshape(-1, x.shape[-1])
    n = len(x) // count
    if eight:
        answer = _in_eight_bits(layer, eight, rows, n, _last(plan, given, x, eight))
    elif rows.weights:
        x = x.to(layer.weight.dtype)
        answer = x.new_empty(len(x), layer.out_features)
        for start, stop in rows.plain:
            answer[start * n : stop * n] = plain(x[start * n : stop * n])
        for start, stop, weight in rows.weights:  # into its place: joining the parts afterwards costs a tenth more
            part, into = x[start * n : stop * n], answer[start * n : stop * n]
            bias: Any = layer.bias  # Tensor | None, whatever its annotation
            if bias is None:
                torch.mm(part, weight.T, out=into)
            else:
                torch.addmm(bias, part, weight.T, out=into)
    else:
        answer = plain(x)
    for start, stop, a, b in rows.products:
        answer[start * n : stop * n] += linear(linear(x[start * n : stop * n].to(a.dtype), a), b)
    return answer.view(*shape, -1)


def _in_eight_bits(layer: nn.Linear, eight: _Eight, rows: _Rows, n: int, x: Int8Input) -> Tensor:
    """What a layer and task models' weights in its place answer; a batch's row is n rows of the input."""
    answer = torch.empty(len(x.values), layer.out_features, dtype=eight.weight.dtype)
    if not rows.eights:
        eight.weight.multiply(x, answer)
    for start, stop, weight in (*((*part, eight.weight) for part in rows.plain), *rows.eights):
        weight.multiply(x.rows(start * n, stop * n), answer[start * n : stop * n])
    bias: Any = layer.bias
    return answer if bias is None else answer.add_(bias)


def _last(plan: _Plan, given: Tensor, x: Tensor, eight: _Eight) -> Int8Input:
    """An input in eight bits; those of a block's first layers are one."""
    if not plan.last or plan.last[0][0] is not given:
        plan.last[:] = [(given, Int8Input.of(x, eight.columns, eight.weight.dtype))]
    return plan.last[0][1]
