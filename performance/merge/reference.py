"""TIES in float64 by its definition, and how far results are from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from performance.merge.child import Watch
from performance.merge.ours import DENSITY
from samner.merging import LoraAdapter


def write(watch: Watch, paths: Sequence[str], scope: str, save: str) -> None:
    """Save the merged task vector; the adapters are to have the same modules."""
    with watch:
        save_file(ties([LoraAdapter.load(path) for path in paths], DENSITY, scope), save)


def ties(adapters: Sequence[LoraAdapter], density: float, scope: str) -> dict[str, Tensor]:
    """Trim, elect, average. Where values cancel exactly the result is zero."""
    modules = adapters[0].modules
    groups = [modules] if scope == "global" else [(module,) for module in modules]
    merged = {}
    for group in groups:
        trims = [_Trim(adapter, group, density) for adapter in adapters]
        for module in group:
            elected = sum(trim.kept(module) for trim in trims).sign()
            total, count = torch.zeros_like(elected), torch.zeros_like(elected)
            for trim in trims:
                values = trim.kept(module)
                agrees = (values.sign() == elected) & (values != 0)
                total += values * agrees
                count += agrees
            merged[module] = total / count.clamp_(min=1)
    return merged


class _Trim:
    """Keeps the largest magnitudes of an adapter over some modules; of equal ones the first."""

    def __init__(self, adapter: LoraAdapter, modules: Sequence[str], density: float) -> None:
        self._adapter = adapter
        magnitudes = np.concatenate([self._values(module).abs_().numpy().ravel() for module in modules])
        keep = round(density * len(magnitudes))
        magnitudes.partition(len(magnitudes) - keep)
        self._least = float(magnitudes[len(magnitudes) - keep])
        room = keep - int((magnitudes > self._least).sum())
        self._left_out: dict[str, Tensor] = {}
        for module in modules:
            equal = (self._values(module).abs_().flatten() == self._least).nonzero().flatten()
            self._left_out[module] = equal[room:]
            room = max(0, room - len(equal))

    def kept(self, module: str) -> Tensor:
        values = self._values(module)
        values *= values.abs() >= self._least
        values.view(-1)[self._left_out[module]] = 0
        return values

    def _values(self, module: str) -> Tensor:
        return self._adapter.delta(module, torch.float64)


def error(watch: Watch, reference: str, result: str, base: str = "") -> dict[str, float]:
    """Relative Frobenius error of a result: dense matrices, an adapter folder, or a full model over ``base``."""
    with watch:
        off = size = 0.0
        with safe_open(reference, framework="pt") as truth:
            read = _reader(Path(result), Path(base) if base else None)
            for module in truth.keys():  # noqa: SIM118 - not a dict
                wanted = truth.get_tensor(module)
                size += float(wanted.square().sum())
                off += float(wanted.sub_(read(module)).square_().sum())
    return {"error": (off / size) ** 0.5}


def _reader(result: Path, base: Path | None) -> Callable[[str], Tensor]:
    """What gives a module's task vector in float64."""
    if base:
        before, after = (_tensors(folder.glob("*.safetensors")) for folder in (base, result))
        return lambda module: after(f"{module}.weight") - before(f"{module}.weight")
    if result.is_dir():
        adapter = LoraAdapter.load(result)
        return lambda module: adapter.delta(module, torch.float64)
    return _tensors(iter([result]))


def _tensors(paths: Iterator[Path]) -> Callable[[str], Tensor]:
    files = [safe_open(path, framework="pt") for path in paths]
    places = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a dict
    return lambda name: places[name].get_tensor(name).double()
