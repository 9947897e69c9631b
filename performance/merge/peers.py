"""Part ``peers``: one decoder layer, merged by samner and by others, and the error of each result."""

from __future__ import annotations

from dataclasses import dataclass

from performance.merge.bench import MERGEKIT, Bench
from performance.merge.measure import Result
from performance.merge.report import megabytes, seconds, table
from samner.errors import SamnerError

RANK = 64  # of the adapters that are written
DENSITY = 0.2
GOAL = 10


@dataclass(frozen=True)
class Row:
    """A measurement; ``beside`` is samner's that it is compared with, none if it is samner's own."""

    name: str
    result: Result
    error: float
    beside: Row | None = None

    def cells(self) -> list[str]:
        cells = [self.name, seconds(self.result.seconds), megabytes(self.result.before), megabytes(self.result.peak)]
        error = "-" if self.error != self.error else f"{self.error:.2g}"
        if self.beside is None or self.result.failure or self.beside.result.failure:
            return [*cells, error, "", self.result.failure]
        ratio = self.result.seconds / self.beside.result.seconds
        reached = ratio >= GOAL and self.beside.error <= self.error * 1.01  # no less exact, but for chance
        return [*cells, error, f"{ratio:.2g}", "yes" if reached else "**no**"]


class Peers:
    """Runs the cases on one set of adapters."""

    def __init__(self, bench: Bench, only: str = "") -> None:
        self.bench = bench
        self.paths = bench.adapters(bench.large, 1, only=only)
        self.references = {scope: bench.path(f"reference-{scope}-{only}") for scope in ("global", "tensor")}
        for scope, save in self.references.items():
            bench.run("reference.write", paths=self.paths, scope=scope, save=save)

    def row(self, name: str, case: str, truth: str, beside: Row | None = None, **params: object) -> Row:
        """Run a case and compare what it saved with the reference."""
        save = self.bench.path("result")
        result = self.bench.run(case, paths=self.paths, save=save, **params)
        error = float("nan")
        if not result.failure:
            base = params["base"] if case in ("ours.fused", "mergekit_peer.merge") else ""
            found = self.bench.run("reference.error", reference=self.references[truth], result=save, base=base)
            error = found.answer.get("error", error)
        self.bench.path("result")
        return Row(f"{name}, {truth}", result, error, beside)


def part(bench: Bench) -> str:
    if not MERGEKIT.is_file():
        raise SamnerError(f"{MERGEKIT} is missing: `make performance/.venv-mergekit/.done` installs mergekit there")
    bases = {}
    for dtype in ("bfloat16", "float32"):
        bases[dtype] = bench.path(f"base-{dtype}")
        bench.run("peft_peer.base", shape=bench.large.widths, layers=1, dtype=dtype, save=bases[dtype])

    layer = Peers(bench)
    dense = layer.row("samner, dense", "ours.dense", "global", scope="global")
    rows = [
        dense,
        layer.row("original code, flattened", "flattened.merge", "global", dense),
        layer.row("samner, dense", "ours.dense", "tensor", scope="tensor"),
        layer.row(f"samner, adapter of rank {RANK}", "ours.adapter", "global", rank=RANK, scope="global"),
    ]
    adapter = layer.row(f"samner, adapter of rank {RANK}", "ours.adapter", "tensor", rank=RANK, scope="tensor")
    peft = {"base": bases["bfloat16"], "rank": RANK}
    rows += [adapter, layer.row("PEFT `ties`, rank 16", "peft_peer.merge", "tensor", adapter, kind="ties", **peft)]
    if bench.full:
        rows.append(
            layer.row(f"PEFT `ties_svd`, rank {RANK}", "peft_peer.merge", "tensor", adapter, kind="ties_svd", **peft)
        )
    rows.append(layer.row("samner `knots`, dense for the error", "ours.knots", "tensor"))
    for dtype, base in bases.items():
        name = f"full model in {dtype}"
        fused = layer.row(f"samner, {name}", "ours.fused", "tensor", base=base, scope="tensor")
        params = {"base": base, "dtype": dtype, "density": DENSITY}
        rows += [fused, layer.row(f"mergekit, {name}", "mergekit_peer.merge", "tensor", fused, **params)]

    single = Peers(bench, "k_proj")
    ours = single.row(f"samner, adapter of rank {RANK}", "ours.adapter", "tensor", rank=RANK, scope="tensor")
    svd = [ours]
    for full in (True, False):
        name = f"PEFT `ties_svd`, rank {RANK}, svd_full_matrices={full}"
        svd.append(single.row(name, "peft_peer.merge", "tensor", ours, kind="ties_svd", full_matrices=full, **peft))

    header = ["merge", "seconds", "RSS before, MB", "peak RSS, MB", "relative error", "peer / samner", f"{GOAL}x?"]
    kv, hidden = bench.large.kv, bench.large.hidden
    return (
        f"One decoder layer, {bench.large.numel(1) / 1e6:.0f} million values:\n\n"
        f"{table(header, [row.cells() for row in rows])}\n\n"
        f"One module alone, `k_proj`, {kv} x {hidden}:\n\n{table(header, [row.cells() for row in svd])}"
    )
