"""samner's cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from performance.merge.adapters import write_adapters
from performance.merge.child import Watch
from samner.merging import LoraAdapter, Merger
from samner.merging.registry import methods

DENSITY = 0.2


def adapters(watch: Watch, **params: object) -> dict[str, object]:
    """Write the adapters that the cases merge."""
    with watch:
        return {"paths": write_adapters(**params)}


def null(watch: Watch, paths: Sequence[str], threads: int | None = None) -> None:
    """TIES, every tile thrown away."""
    methods()  # looks for plug-ins, once a process
    with watch, _merger(watch, paths, threads=threads) as merger:
        for _ in merger.tiles():
            pass


def dense(watch: Watch, paths: Sequence[str], scope: str, save: str) -> None:
    """TIES as dense matrices, kept in memory."""
    methods()
    with watch, _merger(watch, paths, scope=scope) as merger:
        merged = dict(merger.dense())
    save_file(merged, save)


def adapter(
    watch: Watch, paths: Sequence[str], rank: int, save: str, scope: str = "global", threads: int | None = None
) -> None:
    """TIES written as an adapter."""
    from samner.export.adapter import AdapterTarget

    methods()
    Path(save).mkdir()
    with watch, _merger(watch, paths, scope=scope, threads=threads) as merger:
        AdapterTarget(rank).write(merger, Path(save))
        watch.reached("adapter")


def fused(watch: Watch, paths: Sequence[str], base: str, scope: str, save: str) -> None:
    """TIES added to a base model and written as a full one."""
    from samner.export.fused import write_fused

    methods()
    Path(save).mkdir()
    with watch, _merger(watch, paths, scope=scope) as merger:
        write_fused(merger, Path(base), Path(save))


def knots(watch: Watch, paths: Sequence[str], save: str = "") -> None:
    """KnOTS as exact factors."""
    methods()
    with watch, Merger(_load(watch, paths), "knots", density=DENSITY) as merger:
        factors = {module: merger.factors(module) for module in merger.shapes}
    if save:
        save_file({module: (f.b @ f.a).mul_(f.scale) for module, f in factors.items()}, save)


def _merger(watch: Watch, paths: Sequence[str], *, scope: str = "global", threads: int | None = None) -> Merger:
    loaded = _load(watch, paths)
    return Merger(loaded, "ties", density=DENSITY, scope=scope, threads=threads, progress=watch.reached)


def _load(watch: Watch, paths: Sequence[str]) -> list[LoraAdapter]:
    loaded = [LoraAdapter.load(path) for path in paths]
    watch.reached("load")
    return loaded
