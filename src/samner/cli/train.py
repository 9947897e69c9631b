"""``samner train``: an expert from labelled texts."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samner.cli import options
from samner.cli.options import check_output_folder, training_options
from samner.cli.output import console, counted, say, write_json
from samner.cli.runtime import open_pool, start
from samner.errors import SamnerError
from samner.files import exclusive
from samner.hub import is_reference
from samner.pools import SHIPPED

if TYPE_CHECKING:
    from samner.backbones.training import TrainingRecipe
    from samner.pool import ExpertCard
    from samner.training import ExpertRecipe


def train(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA...",
            help="Labelled texts: files, or folders with train.jsonl and, if there is one, dev.jsonl.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of the expert.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; must not exist.")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="'builtin', 'smollm2', a folder, or the hub id of a pool (owner/name). By default builtin, even "
            "where adapt takes smollm2: an expert takes minutes of a CPU there, over smollm2 more than an hour.",
        ),
    ] = None,
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            "--dev", metavar="FILE", help="Labelled texts to stop early by; repeated, one for each DATA in its order."
        ),
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="One line for the expert's card.")
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(
            "--licence", metavar="TEXT", help="Of the data, for the card; repeated as NAME=TEXT for single data sets."
        ),
    ] = None,
    max_minutes: options.MaxMinutes = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")
    ] = False,
    option: options.TrainingOptions = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe", metavar="FILE", help="Arguments and options from a YAML file; those of this command go first."
        ),
    ] = None,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Of a language model that answers in JSON: show adapter, first question and steps of the training, "
            "and train nothing.",
        ),
    ] = False,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Train an expert on labelled texts, for 'samner pool add'.

    The expert is a LoRA adapter over the pool's base model; the pool itself is not changed. Without a dev split, a
    tenth of the texts is held out. Checkpoints go to FOLDER.run, which is removed in the end.

    Over a language model, 'accelerate launch -m samner train ...' or 'torchrun -m samner train ...' shares the work
    among several GPUs.

    Example: samner train my-data/ --name invoices -o invoices
    """
    from samner.training import ExpertRecipe

    given = ExpertRecipe.read(recipe) if recipe else ExpertRecipe()
    changed: dict[str, Any] = {"pool": pool, "name": name, "out": out, "description": description}
    changed |= {"data": tuple(data or ()), "licence": tuple(licence or ())}
    changed = {key: value for key, value in changed.items() if value or value == ""}
    if dev or data:
        changed["dev"] = tuple(dev or ())  # a recipe's dev files go with its data
    said = training_options(option or ()) | ({} if max_minutes is None else {"max_minutes": max_minutes})
    if pool:
        changed["model"] = None  # the pool's is trained on, and so rehearsed, whichever model the recipe is for
    given = given.model_copy(update=changed)
    if dry:
        _dry_run(given, said, recipe, format, json=json)
        return
    for value, how in ((given.data, "DATA"), (given.name, "--name NAME"), (given.out, "-o FOLDER")):
        if not value:
            raise SamnerError(f"{how} is missing, on the command line and in a recipe")
    assert given.name and given.out
    with _place(given.out) as (out, run, first):
        if first:
            check_output_folder(out)
            if run.exists() and not resume:
                raise SamnerError(
                    f"{run} holds the checkpoint of an interrupted run: go on with --resume, or remove it"
                )
            if resume and not run.exists():
                say(f"there is no checkpoint in {run}; starting from the beginning")
        from samner import training
        from samner.pool.card import check_name

        check_name(given.name)
        read = training.read_labelled(given.data, given.dev, format)
        licences = training.licences_by_set(given.licence, [each.name for each in read])
        opened = open_pool(given.pool, start(device, log=True))
        settings = _checked(opened.backbone.recipe(), given.options, said, recipe)
        tell = say if first else _quiet
        labelled = training.training_data(read, settings.seed, opened.backbone.known_types(), tell)
        tell(
            f"training {given.name} on "
            + ", ".join(f"{s.name} ({counted(len(s.examples), 'text')})" for s in labelled.train)
            + f", over the base of {given.pool}"
        )
        try:
            card = training.train_expert(
                opened,
                given.name,
                labelled,
                out,
                options=settings.model_dump(),
                description=given.description,
                licences=licences,
                run=run,
                resume=resume,
            )
        except KeyboardInterrupt:
            if run.exists():
                tell(f"the same command with --resume goes on from the checkpoint in {run}")
            else:
                tell("there was no checkpoint yet; the same command starts anew")
            raise
        if not first:
            return
        shutil.rmtree(run, ignore_errors=True)
        if json:
            write_json({"expert": str(out), "card": _plain(card)})
        else:
            _show(card, out, given.pool)


def _dry_run(
    given: ExpertRecipe, said: Mapping[str, Any], file: Path | None, format: str | None, *, json: bool
) -> None:
    from samner import training

    read = training.read_labelled(given.data, given.dev, format)
    start("cpu")
    kind, _ = training.family_for(given)
    options = _checked(kind.recipe(), given.options, said, file)
    result = training.dry_run(given.model_copy(update={"options": options.model_dump()}), read, say)
    if json:
        write_json(dict(result.values))
    else:
        console().print(f"{result.text}\nnothing was trained")


def _checked(
    kind: type[TrainingRecipe], own: Mapping[str, Any], said: Mapping[str, Any], file: Path | None
) -> TrainingRecipe:
    """The recipe's options, and over them those of the command line; either is named where it is wrong."""
    kind.of(own, f"{file}: options")
    return kind.of({**own, **said}, "--option")


def _quiet(line: str) -> None:
    """Says nothing, as all processes but the first do."""


@contextmanager
def _place(out: Path) -> Iterator[tuple[Path, Path, bool]]:
    """Where this process writes the expert, where the run is, and whether it is the first of all.

    Of several processes that share the work, the others write what they have to write to a folder that is thrown away.
    """
    run = out.with_name(out.name + ".run")
    if os.environ.get("RANK", "0") == "0":
        with exclusive(out):
            yield out, run, True
        return
    with tempfile.TemporaryDirectory(prefix="samner-") as scratch:
        yield Path(scratch) / out.name, run, False


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
    elif outcome.get("best_loss") is not None:
        to.print(f"dev loss {outcome['best_loss']:.3f}, best at step {outcome['best_step']}")
    target = shlex.quote(pool)
    if pool in SHIPPED:
        target = "my-pool"
        to.print(f"next, once: samner pool create {target} --from {pool}")
    elif not Path(pool).exists() and is_reference(pool):
        to.print(f"next, once: samner pool pull {target} my-pool")
        target = "my-pool"
    to.print(f"next: samner pool add {target} {shlex.quote(str(out))}")
    to.print(f"then: samner adapt --pool {target} ...")
