"""``samner calibrate``: scores that mean something and thresholds that fit, from a few labelled texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.options import check_output_file, check_replaceable
from samner.cli.output import console, counted, say, table, write_json
from samner.cli.runtime import open_model
from samner.data import read_gold
from samner.files import user_path
from samner.progress import Progress

if TYPE_CHECKING:
    from samner.calibration import Calibrated


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The folder of a model that 'samner adapt' saved.")],
    gold: Annotated[Path, typer.Argument(metavar="GOLD", help="A few of its texts with their true entities.")],
    method: Annotated[
        str,
        typer.Option(
            "--method", metavar="METHOD", help="platt: for some dozens of texts; isotonic: for a thousand entities."
        ),
    ] = "platt",
    floor: Annotated[
        float | None,
        typer.Option(
            "--floor",
            metavar="SCORE",
            help="The model's own score below which nothing can count afterwards; by default a quarter of the base's "
            "threshold.",
        ),
    ] = None,
    seed: options.Seed = 0,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Also draw how reliable the scores are: .svg, .png or .pdf."),
    ] = None,
    force: options.Force = False,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Calibrate a saved model on a few labelled texts: its scores, and a threshold for all and for each label.

    Afterwards a score is the share of entities of that score that are right, and thresholds are compared with it. Both
    are written into the model's folder (manifest.json); nothing else of it changes. What it gains is measured by
    cross-validation. The same command with other texts replaces it.

    Example: samner calibrate my-domain labelled.jsonl --plot reliability.svg
    """
    if plot is not None:
        from samner.figures import check_suffix

        check_output_file(plot, gold, force=force)
        check_suffix(plot)
    from samner.task_model import MANIFEST

    check_replaceable(user_path(model) / MANIFEST)
    examples = read_gold(gold, format)
    say(f"read {counted(len(examples), 'text')} from {gold}")
    loaded = open_model(model, device)
    from samner.calibration import calibrate as run

    with Progress() as show:
        found = run(
            loaded,
            examples,
            method=method,
            floor=floor,
            seed=seed,
            on_done=show.counter("texts", len(examples)),
        )
    found.model.save_thresholds(model)
    if plot is not None:
        from samner.cli.plots import reliability

        reliability(found, plot)
        say(f"wrote {plot}")
    if json:
        scores = {"threshold": found.model.threshold, "thresholds": dict(found.model.thresholds)}
        write_json({"model": str(model), "method": method, **scores, **found.figures()})
    else:
        _show(found)
    say(f"wrote thresholds and calibration to {model}")


def _show(found: Calibrated) -> None:
    to = console()
    rows = [
        ["before", found.f1_before, found.before.error, found.before.brier],
        ["after", found.f1_after, found.after.error, found.after.brier],
    ]
    columns = ["F1", "calibration error", "Brier score"]
    to.print(table(["scores", *columns], rows, right=columns))
    to.print(
        f"on {counted(found.texts, 'labelled text')} with {counted(found.entities, 'candidate')}, by cross-validation"
    )
    to.print()
    own = found.model.thresholds
    limits = [[t.name, own.get(t.name, found.model.threshold)] for t in found.model.types]
    rows = [[name, limit, "its own" if name in own else "that of all labels"] for name, limit in limits]
    to.print(table(["label", "threshold", "is"], rows, right=["threshold"]))
