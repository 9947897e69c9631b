"""``samner select``: which experts fit some texts, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.adapt import show_selections, warn
from samner.cli.options import check_output_file, labels_needed, texts_of
from samner.cli.output import console, say, status, table, write_json
from samner.cli.runtime import open_pool, start
from samner.data.lines import STANDARD_STREAM

if TYPE_CHECKING:
    from samner.selection import Selection


def select(
    texts: options.Texts,
    pool: options.Pool = options.DEFAULT_POOL,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    experts: options.Experts = "auto",
    samples: options.Samples = 10,
    seed: options.Seed = 0,
    exclude: options.Exclude = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Also draw the scores: .svg, .png or .pdf.")
    ] = None,
    force: options.Force = False,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Show which experts fit some texts, and why.

    Experts are ranked by how similar their training texts are (cosine), and by how well they agree with the majority
    on a few of the texts (F1). Of more than 20 experts, the most similar ones are asked.

    Example: samner select --pool builtin --labels drug,disease texts.jsonl
    """
    types = labels_needed(labels, labels_file)
    if plot is not None:
        from samner.figures import check_suffix

        check_output_file(plot, None if texts == STANDARD_STREAM else texts, force=force)
        check_suffix(plot)
    read = texts_of(texts, format)
    device = start(device)
    from samner.adaptation import select as run

    opened = open_pool(pool, device)
    with status("asking the experts"):
        selections = run(opened, read, types, count=experts, samples=samples, seed=seed, exclude=exclude or ())
    warn(dict.fromkeys(warning for selection in selections.values() for warning in selection.warnings))
    if plot is not None:
        from samner.cli.plots import selection

        selection(selections, plot)
        say(f"wrote {plot}")
    if json:
        write_json({name: selection.to_dict() for name, selection in selections.items()})
        return
    show_selections(selections, console())
    _show_pseudo_labels(selections["sampling"], read)


def _show_pseudo_labels(selection: Selection, texts: Sequence[str]) -> None:
    to = console()
    for index, text in enumerate(texts[place] for place in selection.sample):
        to.print(f"\nsample {index + 1}: {text}")
        rows = [
            [text[p.start : p.end], p.label, len(p.votes), ", ".join(p.votes)]
            for p in selection.pseudo_labels
            if p.text == index
        ]
        to.print(table(["entity", "label", "votes", "by"], rows, right=("votes",)) if rows else "no pseudo-label")
