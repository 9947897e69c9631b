"""The ``samner`` command: its verbs, and how errors leave it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from samner.cli.output import guarded
from samner.errors import SamnerError
from samner.files import user_path
from samner.precision import VARIABLE, Precision

VERBS = {
    "extract": "Find the entities of texts; write JSON Lines with offsets, labels and scores.",
    "adapt": "Adapt a pool to a domain, from unlabelled texts and labels, and save the model.",
    "calibrate": "Calibrate a saved model on a few labelled texts: its scores, and a threshold for each label.",
    "distil": "Distil a saved model into a fast one, from unlabelled texts that it labels.",
    "select": "Show which experts fit some texts, and why.",
    "redact": "Replace what should not be read in texts, for good or for who has the key.",
    "train": "Train an expert on labelled texts, for 'samner pool add'.",
    "pool": "Make, look at, change, check and share pools of experts.",
    "prompts": "Look at the questions that a language model is asked.",
    "merge": "Merge LoRA adapters on their task vectors, exactly.",
    "export": "Export a model that 'samner adapt' saved, for other programs.",
    "serve": "Serve models and pools over HTTP, with a page for people.",
    "evaluate": "Score predicted entities against gold.",
    "benchmark": "Measure a pool: every way to select and merge, on every target, with a report.",
    "data": "Check files of texts, and convert them from any format to any other.",
    "schema": "Print the JSON Schema of a kind of file, which editors use to complete and check it.",
}
"""In the order of the help. A verb is a module of its name in this folder, imported when the verb is used: with a
function of its name, or with a table ``VERBS`` of functions, its verbs in turn."""


@runtime_checkable
class _UsageError(Protocol):
    """What typer raises for a wrong option or argument; the class itself it does not export."""

    ctx: typer.Context | None

    def format_message(self) -> str: ...


class Guarded(TyperGroup):
    """Errors leave as ``samner.cli.output.guarded`` has it, those of the arguments with where to read more."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, verb(str(name)), rest

    def make_context(self, *given: Any, **more: Any) -> Any:
        with _guarded():  # what stands before the verb is read here
            return super().make_context(*given, **more)

    def invoke(self, ctx: Any) -> Any:
        with _guarded():
            return super().invoke(ctx)


@contextmanager
def _guarded() -> Iterator[None]:
    with guarded():
        try:
            yield
        except typer.TyperException as error:
            message, at = str(error), "samner"
            if isinstance(error, _UsageError):
                message, at = error.format_message(), error.ctx.command_path if error.ctx else at
            if not message:  # nothing was given, and the help is written
                raise typer.Exit(2) from error
            raise SamnerError(f"{message.rstrip('.').replace(': Value error, ', ': ')}; see '{at} -h'") from error


app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # a bug shows Python's plain traceback, without the values of variables, which may be a user's texts
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"samner {version('samner')}")
        raise typer.Exit


@app.callback()
def _samner(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="What models compute in; by default what the processor has instructions for."),
    ] = None,
) -> None:
    """Find entities in a domain nobody labelled, by selecting and merging per-domain experts."""
    if precision:
        os.environ[VARIABLE] = precision  # also for the processes that are started


def _add(to: typer.Typer, name: str, verb: Callable[..., Any]) -> None:
    """Register a verb, its docstring's paragraphs unwrapped: as they stand, typer would keep their line breaks."""

    @wraps(verb)
    def run(**given: Any) -> Any:
        return verb(**{parameter: _at_home(value) for parameter, value in given.items()})

    paragraphs = (inspect.getdoc(verb) or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    to.command(name, help=text.replace("[", r"\["))(run)  # samner[serve] is no markup


def _at_home(value: Any) -> Any:
    """Paths with the tilde replaced that a shell leaves alone, as in ``--out=~/model``."""
    if isinstance(value, list | tuple):
        return [_at_home(one) for one in value]
    return user_path(value) if isinstance(value, Path) else value


def verb(name: str) -> Any:
    """The command of a verb."""
    module = import_module(f"samner.cli.{name}")
    typed = typer.Typer(no_args_is_help=True, help=module.__doc__, add_completion=False)
    for part, function in getattr(module, "VERBS", {name: getattr(module, name, None)}).items():
        _add(typed, part, function)
    return typer.main.get_command(typed)


for _name, _help in VERBS.items():
    app.command(_name, help=_help)(lambda: None)  # for the list in the help; Guarded puts the verb in its place
