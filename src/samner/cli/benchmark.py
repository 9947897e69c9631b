"""``samner benchmark``: every arm and ablation on every target, and a report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from samner.cli import options
from samner.cli.output import say
from samner.cli.runtime import start

_Names = list[str] | None


def benchmark(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML of pools, targets and groups of arms.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to: results.json, report.html, report.md.")
    ],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Where the targets' files are.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="FOLDER",
            help="What is kept, so that a stopped run goes on; by default .samner-benchmark beside the output.",
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="FILE",
            help="Markdown that gets the main tables, between the lines '<!-- samner benchmark: begin -->' and "
            "'... end -->'.",
        ),
    ] = None,
    only: Annotated[_Names, typer.Option("--only", metavar="TARGET", help="Only this target; repeated.")] = None,
    groups: Annotated[
        _Names, typer.Option("--groups", metavar="GROUP", help="Only arms of this group; repeated.")
    ] = None,
    arms: Annotated[_Names, typer.Option("--arms", metavar="ARM", help="Only this arm; repeated.")] = None,
    pool: Annotated[
        _Names,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="Instead of CONFIG's: 'builtin', a folder, or a hub id (owner/name); repeated, to compare pools.",
        ),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Measure pools: every way to select and merge, on every target, with a report.

    CONFIG names targets and groups of arms: the base, each expert, baselines, selections, merges, ensembles, oracles,
    and whatever argument of samner.adapt is to be varied. docs/benchmark.yaml is an example.

    What was selected and read is kept by its content: a run that was stopped goes on where it was, and one with
    another arm or target reads only what is new.

    Example: samner benchmark docs/benchmark.yaml --data ../shared/data --out runs/benchmark
    """
    device = start(device)
    from samner.benchmark.config import read_benchmark
    from samner.benchmark.run import run

    asked = read_benchmark(config, data=data, pools=pool or (), only=only or (), groups=groups or (), arms=arms or ())
    run(asked, out, work=work, into=into, device=device, command=shlex.join(["samner", *sys.argv[1:]]))
    say(f"wrote {out / 'results.json'}, report.html and report.md" if len(asked.pools) == 1 else f"wrote {out}")
