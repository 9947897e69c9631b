"""``samner distil``: a fast model from a slow one's answers to unlabelled texts."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.adapt import warn
from samner.cli.options import check_output_folder, labels_given, texts_of, training_options
from samner.cli.output import console, counted, say, status, write_json
from samner.cli.runtime import open_pool, open_recogniser, start
from samner.errors import SamnerError
from samner.files import exclusive
from samner.progress import Progress

if TYPE_CHECKING:
    from samner.task_model import TaskModel


def distil(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The folder of the slow model, the teacher: of any family.")
    ],
    texts: options.Texts,
    out: options.OutFolder,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    pool: Annotated[
        str,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="Over whose base the fast model, the pupil, is trained: 'builtin', a folder, or a hub id.",
        ),
    ] = "builtin",
    least: Annotated[
        int,
        typer.Option(
            "--least",
            metavar="N",
            min=1,
            help="Entities of a label that the teacher has to be sure of; else it is left out.",
        ),
    ] = 3,
    max_minutes: options.MaxMinutes = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")
    ] = False,
    option: options.TrainingOptions = None,
    seed: options.Seed = 0,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Distil a saved model into a fast one, from unlabelled texts that it labels.

    The teacher reads the texts; an expert over a small base learns its answers and is saved as a model of its own,
    for 'samner extract --model' and all else that takes one. Some hundreds of texts at least; thousands are better.
    Answers and checkpoints go to FOLDER.run, which is removed in the end.

    Example: samner adapt --labels drug,disease texts.jsonl -o slow && samner distil slow texts.jsonl -o fast
    """
    with exclusive(out):
        check_output_folder(out)
        run = out.with_name(out.name + ".run")
        if run.exists() and not resume:
            raise SamnerError(f"{run} holds what an interrupted run had done: go on with --resume, or remove it")
        if resume and not run.exists():
            say(f"there is nothing in {run}; starting from the beginning")
        types = labels_given(labels, labels_file)
        said = training_options(option or ()) | ({} if max_minutes is None else {"max_minutes": max_minutes})
        if "seed" in said:
            raise SamnerError("the seed is set by --seed, not by --option")
        read = texts_of(texts, format)
        device = start(device, log=True)
        from samner import distillation
        from samner.backbones import is_server

        teacher = open_recogniser(model, device)
        warn(teacher.warnings)
        fast = open_pool(pool, "auto" if is_server(device) else device)
        fast.backbone.recipe().of({**said, "seed": seed}, "--option")  # what is wrong is said before the work
        try:
            with Progress(lines=True) as show:
                answers = distillation.ask(
                    teacher,
                    read,
                    types,
                    name=model.resolve().name,
                    run=run,
                    on_done=show.counter("texts read by the teacher", len(read)),
                )
            found = counted(sum(len(answers.counting(example).entities) for example in answers.texts), "entity")
            say(f"{model} found {found} in {counted(len(answers.texts), 'text')} in {answers.seconds:.1f} s")
            pupil = distillation.teach(answers, fast, least=least, seed=seed, options=said, run=run, tell=say)
        except KeyboardInterrupt:
            say(f"the same command with --resume goes on with what is in {run}")
            raise
        with status("saving the model"):
            pupil.save(out)
        shutil.rmtree(run, ignore_errors=True)
        if json:
            write_json(
                {
                    "model": str(out),
                    "labels": [{"name": t.name, "description": t.description} for t in pupil.types],
                    "threshold": pupil.threshold,
                    **pupil.settings["distilled"],
                }
            )
        else:
            _show(pupil)
        say(f"wrote {out}; next: samner extract --model {shlex.quote(str(out))} TEXTS -o FILE")


def _show(pupil: TaskModel) -> None:
    record = pupil.settings["distilled"]
    teacher, seconds = record["teacher"], record["training"].get("outcome", {}).get("seconds", 0)
    to = console()
    to.print(f"learnt {counted(len(pupil.types), 'label')} in {seconds:.0f} s")
    held_out = counted(record["held_out"], "held-out text")
    to.print(f"agreement with {teacher['name']} on {held_out}: F1 {record['agreement']:.3f}")
    rate = teacher["texts"] / max(teacher["seconds"], 1e-9)
    to.print(f"reads {record['texts_per_second']:.1f} texts a second, {teacher['name']} read {rate:.1f}")
