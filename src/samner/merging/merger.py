"""Adapters of one base model as a merge that is ready to be read: tile by tile, module by module, or as factors."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import combinations
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from samner.backbones.base import LazyDeltas
from samner.errors import SamnerError
from samner.lora import LoraAdapter, LoraFactors
from samner.merging.registry import DenseMethod, LowRankMethod, TileRule, is_number, make_method
from samner.merging.stream import PackedDeltas
from samner.merging.task_vectors import Engine, Expert, Progress, TaskVectors, Tile, on_device
from samner.names import base_key, common_names, is_repacked, is_vocabulary, shown, statement

_log = logging.getLogger(__name__)


class Merger:
    """Merges adapters of a model of any size in the memory of their low-rank factors and a few tiles.

    To be used in a ``with`` statement. Making one reads the task vectors as often as the method has to before it can
    merge (TIES: once for the thresholds and once for the votes); every tile is then computed when it is asked for, and
    comes out the same in whichever order that is.

    Args:
        adapters: The experts, of one base model. They may differ in rank, scale and adapted modules; a module that
            an expert does not adapt counts as zero for it. Their order does not matter.
        method: One of ``methods``.
        weights: One per adapter, not negative; only their ratios matter. Equal by default. A whole-number weight does
            the same as giving the adapter that often.
        device: A torch device name, or ``"auto"``: a GPU if there is one.
        threads: Of torch, while the merger is open; as set by default.
        progress: Called with a stage, the values done and those to do.
        same_base: That names are of one base model, as ``"A=B"``, or all adapters of one, as ``"A"``.
        **params: The method's parameters, for instance ``density=0.2, lam=1.0``.

    Attributes:
        shapes: Shape (out, in) of each module that any adapter of positive weight adapts, in order.
        base: The base model's name, as far as the adapters tell it.

    Raises:
        SamnerError: If the method, a parameter or the device is unknown, a value is out of range, there are no
            adapters, the weights do not fit, or the adapters are of different base models.

    Example:
        >>> adapters = [LoraAdapter.load("news"), LoraAdapter.load("medicine")]
        >>> with Merger(adapters, "ties", density=0.2) as merger:
        ...     for tile, values in merger.tiles():
        ...         assert values.shape[1] == merger.shapes[tile.module][1]  # whole rows
    """

    def __init__(
        self,
        adapters: Sequence[LoraAdapter],
        method: str = "ties",
        weights: Sequence[float] | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        progress: Progress | None = None,
        same_base: Iterable[str] = (),
        **params: Any,
    ) -> None:
        chosen = make_method(method, params)
        weights = _checked(weights, len(adapters))
        aligned, self.base = of_one_base(adapters, same_base)
        experts = _experts(aligned, weights)
        self._engine = Engine(device, threads, progress)
        try:
            self._vectors = TaskVectors(experts, self._engine)
            self.shapes: Mapping[str, tuple[int, int]] = {m: self._vectors.shapes[m] for m in self._vectors.modules}
            self._method = chosen
            if isinstance(chosen, LowRankMethod):
                self._factors = lru_cache(maxsize=4)(lambda module: chosen.factors(self._vectors, module))
                self._on_device = lru_cache(maxsize=4)(
                    lambda module: on_device(self._factors(module), self._engine.device)
                )
                self._rule: TileRule = self._product
            elif isinstance(chosen, DenseMethod):
                self._rule = chosen.rule(self._vectors)
            else:
                raise TypeError(f"{method} is neither a DenseMethod nor a LowRankMethod")
        except BaseException:
            self.close()
            raise

    def tiles(self, modules: Iterable[str] | None = None, stage: str = "merging") -> Iterator[tuple[Tile, Tensor]]:
        """The merged values of some modules, or of all, tile by tile, float32 of shape (rows, in).

        They are in working memory: good until the next tile is asked for.
        """
        for tile in self._vectors.tiles(self.shapes if modules is None else modules, stage):
            yield tile, self._rule(tile)

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """The same, module by module, on the CPU: memory is that of one module."""
        whole = torch.empty(0)
        for tile, values in self.tiles(modules):
            if tile.start == 0:
                whole = torch.empty(self.shapes[tile.module])
            whole[tile.start : tile.stop] = values
            if tile.stop == len(whole):
                yield tile.module, whole
                whole = torch.empty(0)  # before the next is made

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._engine.device

    @property
    def low_rank(self) -> bool:
        """Whether the method's result has low rank, so that ``factors`` gives it."""
        return isinstance(self._method, LowRankMethod)

    def factors(self, module: str) -> LoraFactors:
        """The merged task vector of a module as factors, exactly; only if ``low_rank``."""
        return self._factors(module)

    def close(self) -> None:
        """Free the working memory."""
        self._engine.close()

    def __enter__(self) -> Merger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _product(self, tile: Tile) -> Tensor:
        b, a = self._on_device(tile.module)
        out = self._engine.buffer("product", (tile.stop - tile.start, a.shape[1]))
        return torch.mm(b[tile.start : tile.stop], a, out=out)


def _checked(weights: Sequence[float] | None, count: int) -> Sequence[float]:
    """One weight for each adapter."""
    if not count:
        raise SamnerError("there are no adapters to merge")
    if weights is None:
        return [1.0] * count
    if len(weights) != count:
        raise SamnerError(f"{len(weights)} weights do not fit {count} adapters")
    for weight in weights:
        if not is_number(weight) or weight < 0:
            raise SamnerError(f"weights must be finite and not negative, not {weight!r}")
    if not any(weights):
        raise SamnerError("at least one weight must be above 0")
    return weights


def _experts(adapters: Sequence[LoraAdapter], weights: Sequence[float]) -> list[Expert]:
    """The adapters that have a weight, in an order that depends on their content only."""
    # only ratios matter: brought into float32's range by a power of two, which is exact
    exponent = math.frexp(max(weights))[1]
    # of two equal adapters the lighter comes first, so that the order is total as far as it can be seen
    return sorted(
        (
            (adapter, math.ldexp(weight, -exponent))
            for adapter, weight in zip(adapters, weights, strict=True)
            if weight
        ),
        key=lambda expert: (expert[0].digest, expert[1]),
    )


def merge(
    adapters: Sequence[LoraAdapter],
    method: str = "ties",
    weights: Sequence[float] | None = None,
    *,
    same_base: Iterable[str] = (),
    **params: Any,
) -> dict[str, Tensor]:
    """Merge adapters whose task vectors fit into memory; see :class:`Merger`, for models of any size.

    Returns:
        Module name to merged dense ``dW``, float32 of shape (out, in), to be added to the base weight.

    Raises:
        SamnerError: As :class:`Merger` does.

    Example:
        >>> experts = [LoraAdapter.load("news"), LoraAdapter.load("medicine")]
        >>> merge(experts, "ties", weights=[2, 1], density=0.2)["encoder.layer.0.output.dense"].shape
        torch.Size([384, 1536])
    """
    with Merger(adapters, method, weights, same_base=same_base, **params) as merger:
        return dict(merger.dense())


class MergedDeltas(LazyDeltas):
    """The same, but a module is merged when it is asked for, in the memory of the adapters' factors.

    What the method has to know before is found here, as by :class:`Merger`. A copy, as of ``pickle``, has it all in
    memory.

    Args:
        adapters: As of ``merge``.
        method: One of ``methods``.
        weights: One per adapter.
        **params: Of the method.

    Raises:
        SamnerError: As :class:`Merger` does.
    """

    def __init__(
        self,
        adapters: Sequence[LoraAdapter],
        method: str = "ties",
        weights: Sequence[float] | None = None,
        **params: Any,
    ) -> None:
        self._merging = threading.Lock()  # there is one working memory
        self._merger = Merger(adapters, method, weights, **params)
        self._merger.close()
        self.shapes = self._merger.shapes

    def __getitem__(self, module: str) -> Tensor:
        with self._merging, self._merger as merger, _as_by_itself(merger.device):
            return next(dense for _, dense in merger.dense([module]))

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedDeltas.reduced(self)


def _as_by_itself(device: torch.device) -> ExitStack:
    """A context in which torch computes as outside of one, whatever a model is being asked in."""
    stack = ExitStack()
    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(torch.no_grad())
    for kind in {"cpu", device.type}:
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def of_one_base(
    adapters: Sequence[LoraAdapter], same_base: Iterable[str] = ()
) -> tuple[list[LoraAdapter], str | None]:
    """The adapters, with one name for their base model and one for each of its layers; and the base's name.

    Equal fingerprints prove one base. Names say it if they differ only by where the base lies (an owner, a folder, a
    cache), or by how it is packed (``-bnb-4bit``, ``-AWQ``, ``-hf``), of which a line is logged.

    Args:
        adapters: Some adapters.
        same_base: What the caller knows: ``"A=B"``, that two names are of one base; ``"A"``, that all are of that.

    Returns:
        The adapters in their order, and the base's name as far as any tells it.

    Raises:
        SamnerError: If the adapters are of different bases, or would be merged past each other.
    """
    stated, given = statement(same_base, {adapter.base for adapter in adapters if adapter.base})
    for one, other in combinations({(a.base, a.fingerprint): a for a in adapters}.values(), 2):
        names = {base_key(adapter.base) for adapter in (one, other) if adapter.base}
        if stated or (names and any(names <= group for group in given)):
            continue
        proved = one.fingerprint and other.fingerprint
        if one.fingerprint != other.fingerprint if proved else len(names) > 1:
            option = f"{one.base}={other.base}" if len(names) > 1 else one.base or other.base or "NAME"
            raise SamnerError(
                f"{one.name!r} is an adapter of {_called(one)} but {other.name!r} of {_called(other)}: only adapters "
                f"of one base model can be merged; if both are the same, say so by --same-base {option}"
            )
    named = sorted({adapter.base for adapter in adapters if adapter.base}, key=lambda name: (is_repacked(name), name))
    for name in named[1:]:
        if not stated and is_repacked(name) and base_key(name) == base_key(named[0]):
            _log.warning("taking the base %s for %s, repackaged", shown(name), shown(named[0]))
    first = next((a.base for a in adapters if a.base and not is_repacked(a.base)), None)
    base = stated or first or next(iter(named), None)
    fingerprint = next((a.fingerprint for a in adapters if a.fingerprint), None)
    names_of = common_names([(adapter.name, adapter.factors) for adapter in adapters])
    aligned = [
        a.renamed(names.__getitem__, base, a.fingerprint and fingerprint)
        for a, names in zip(adapters, names_of, strict=True)
    ]
    _check_shapes(aligned)
    return aligned, base


def _called(adapter: LoraAdapter) -> str:
    name = shown(adapter.base) if adapter.base else "a base without a name"
    return f"{name} (fingerprint {adapter.fingerprint[:16]})" if adapter.fingerprint else name


def _check_shapes(adapters: Sequence[LoraAdapter]) -> None:
    seen: dict[str, LoraAdapter] = {}
    for adapter in adapters:
        for module, factors in adapter.factors.items():
            other = seen.setdefault(module, adapter)
            have = other.factors[module].shape
            if have != factors.shape:
                resized = is_vocabulary(module) and have[1] == factors.shape[1]
                why = "one vocabulary was resized for new tokens, or " if resized else ""
                raise SamnerError(
                    f"module {module} has shape {have} in {other.name!r} but {factors.shape} in {adapter.name!r}: "
                    f"{why}the adapters are of different base models"
                )
