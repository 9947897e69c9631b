"""``samner train``: an expert from labelled texts."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samner.cli import options
from samner.cli.inputs import check_output_folder
from samner.cli.output import console, counted, say, write_json
from samner.cli.runtime import open_pool, start
from samner.cli.training import find_sources, parse_licences, parse_options, read_sources, training_data
from samner.errors import SamnerError

if TYPE_CHECKING:
    from samner.pool import ExpertCard


def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Labelled texts: files, or folders with train.jsonl and, if there is one, dev.jsonl.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the expert.", show_default=False)],
    out: options.OutFolder,
    pool: options.Pool = "builtin",
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            "--dev", metavar="FILE", help="Labelled texts to stop early by; repeated, one for each DATA in its order."
        ),
    ] = None,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="One line for the expert's card.")
    ] = "",
    licence: Annotated[
        list[str] | None,
        typer.Option(
            "--licence", metavar="TEXT", help="Of the data, for the card; repeated as NAME=TEXT for single data sets."
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", metavar="M", help="End the training after so long.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="A training option; repeated. A wrong one lists them all."),
    ] = None,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Train an expert on labelled texts, for 'samner pool add'.

    The expert is a LoRA adapter over the pool's base model; the pool itself is not changed. Without a dev split, a
    tenth of the texts is held out. Checkpoints go to FOLDER.run, which is removed in the end.

    Example: samner train my-data/ --name invoices -o invoices
    """
    check_output_folder(out)
    run = out.with_name(out.name + ".run")
    if run.exists() and not resume:
        raise SamnerError(f"{run} holds the checkpoint of an interrupted run: go on with --resume, or remove it")
    if resume and not run.exists():
        say(f"there is no checkpoint in {run}; starting from the beginning")
    sources = find_sources(data, dev or ())
    licences = parse_licences(licence or (), [source.name for source in sources])
    read = read_sources(sources, format)

    device = start(device, log=True)
    from samner.pool.card import check_name
    from samner.train import train_expert

    check_name(name)
    opened = open_pool(pool, device)
    settings = _settings(option or (), max_minutes, opened.backbone.recipe_options())
    labelled = training_data(read, int(settings.get("seed", 0)), opened.backbone.known_types())
    say(f"training {name} on " + ", ".join(f"{s.name} ({counted(len(s.examples), 'text')})" for s in labelled.train))
    try:
        card = train_expert(
            opened,
            name,
            labelled,
            out,
            options=settings,
            description=description,
            licences=licences,
            run=run,
            resume=resume,
        )
    except KeyboardInterrupt:
        if run.exists():
            say(f"the same command with --resume goes on from the checkpoint in {run}")
        else:
            say("there was no checkpoint yet; the same command starts anew")
        raise
    shutil.rmtree(run, ignore_errors=True)
    if json:
        write_json({"expert": str(out), "card": _plain(card)})
    else:
        _show(card, out, pool)


def _settings(pairs: Sequence[str], max_minutes: float | None, known: dict[str, Any]) -> dict[str, Any]:
    if max_minutes is not None:
        pairs = [*pairs, f"max_minutes={max_minutes}"]
    return parse_options(pairs, known)


def _plain(card: ExpertCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "description": card.description,
        "types": list(card.types),
        "data": [{"name": s.name, "licence": s.licence, "texts": s.texts} for s in card.data],
        "training": dict(card.training),
    }


def _show(card: ExpertCard, out: Path, pool: str) -> None:
    outcome = card.training.get("outcome", {})
    to = console()
    effort = f"{outcome.get('steps')} steps in {outcome.get('seconds', 0):.0f} s"
    to.print(f"wrote {out}: {counted(len(card.types), 'type')}, {effort}")
    if outcome.get("best_score") is not None:
        to.print(f"dev F1 {outcome['best_score']:.3f}, best at step {outcome['best_step']}")
    target = pool
    if pool == "builtin":
        target = "my-pool"
        to.print(f"next, once: samner pool create {target} --from builtin")
    to.print(f"next: samner pool add {shlex.quote(target)} {shlex.quote(str(out))}")
