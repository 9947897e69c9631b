"""``samner merge``: adapters into one adapter, one base model, or one file of task vectors."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samner.cli import options
from samner.cli.options import check_output_folder, given_parameters
from samner.cli.output import console, counted, say, table, write_json
from samner.cli.runtime import start
from samner.errors import SamnerError
from samner.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console


def merge(
    adapters: Annotated[
        list[str], typer.Argument(metavar="ADAPTER", help="PEFT adapter folders; with --pool, names of experts.")
    ],
    out: options.OutFolder,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="KIND",
            help="adapter: a PEFT adapter, of a rank; fused: the base model with the merge added, exact; delta: the "
            "merged task vectors alone, exact.",
        ),
    ] = "adapter",
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool", metavar="POOL", help="The pool whose experts are merged: 'builtin', a folder, a hub id."
        ),
    ] = None,
    method: options.Method = "ties",
    density: options.Density = None,
    lam: options.Lam = None,
    param: options.Params = None,
    seed: options.Seed = 0,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="W,W,...", help="One per adapter; only their ratios matter. Equal if not given."
        ),
    ] = None,
    rank: options.Rank = None,
    max_error: options.MaxError = None,
    dtype: options.DType = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            metavar="FOLDER",
            help="For fused: the base model's folder or GGUF file; not needed with --pool.",
        ),
    ] = None,
    same_base: options.SameBase = None,
    device: options.Device = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", help="Processor threads; all if not given.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Merge LoRA adapters on their task vectors, exactly, whatever the size of the base model.

    The base model is not needed, except to write it out with the merge added (--to fused). An adapter has a rank,
    which costs exactness unless the method's result has one itself (linear, knots): how much is shown. Beside the
    result lie a manifest, merge.json, and a model card.

    Example: samner merge --pool builtin news legal --to adapter --rank 64 -o merged
    """
    check_output_folder(out)
    numbers = _weights(weights, len(adapters))
    parameters: dict[str, Any] = {**given_parameters(density, lam, param or ())}
    device = start(device)
    from samner import adaptation
    from samner.export import export_merge
    from samner.merging import make_method, methods
    from samner.pool import ExpertPool

    folders = [Path(name) for name in adapters]
    if pool:
        opened = ExpertPool.load(pool)
        parameters = adaptation.merge_parameters(opened, method, parameters)
        folders = [opened.expert_folder(name) for name in adapters]
        base = base or (opened.base_folder if to == "fused" else None)
    if "seed" in methods().get(method, {}):
        parameters["seed"] = seed
    make_method(method, dict(parameters))  # before a name that is no parameter of it is taken for another argument
    with Progress() as show:
        manifest = export_merge(
            folders,
            out,
            to,
            method,
            numbers,
            rank=rank,
            max_error=max_error,
            dtype=dtype,
            base=base,
            same_base=same_base or (),
            device=device,
            threads=threads,
            progress=show,
            **parameters,
        )
    if json:
        write_json({"out": str(out), **manifest})
    else:
        _show(manifest, console())
    say(f"wrote {shlex.quote(str(out))}")


def _weights(text: str | None, count: int) -> list[float] | None:
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise SamnerError(f"--weights {text}: give numbers parted by commas, for instance --weights 2,1,1") from None
    if len(numbers) != count:
        raise SamnerError(f"--weights gives {counted(len(numbers), 'weight')} for {counted(count, 'adapter')}")
    return numbers


def _show(manifest: Mapping[str, Any], to: Console) -> None:
    from samner.export.card import settings

    report, adapters = manifest["report"], manifest["adapters"]
    equal = len({adapter["weight"] for adapter in adapters}) == 1
    of = ", ".join(a["name"] if equal else f"{a['name']} x {a['weight']:g}" for a in adapters)
    to.print(f"merged {of} ({settings(manifest['method'], manifest['parameters'])})")
    show_report(report, to)


def show_report(report: Mapping[str, Any], to: Console, what: str = "") -> None:
    """Print what was written, and of an adapter what was lost."""
    from samner.export.card import is_exact, worst

    if "relative_error" not in report:
        how = "in eight bits" if report.get("int8") else "exact"
        to.print(f"{what}{counted(report['modules'], 'module')}, {how}")
        return
    modules = f"{what}{counted(len(report['modules']), 'module')} as an adapter of rank {report['rank']}"
    if is_exact(report):
        to.print(f"{modules}, exact")
        return
    energy = f"{report['energy']:.1%} of the energy retained"
    to.print(f"{modules}: relative error {report['relative_error']:.3g}, {energy}")
    rows = [[name, error["relative_error"], f"{error['energy']:.1%}"] for name, error in worst(report)]
    to.print(table(["worst modules", "relative error", "energy"], rows, right=("relative error", "energy")))
