"""The ``samner`` command: its verbs, and how errors leave it."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from samner.cli import adapt, benchmark, evaluate, export, extract, merge, pool, prompts, schema, select, train
from samner.cli.help import add_command
from samner.cli.output import say
from samner.errors import SamnerError


class Guarded(TyperGroup):
    """Turns what a user can act on into one line and an exit code: 2 for errors, 130 when interrupted."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SamnerError as error:
            _fail(str(error))
        except BrokenPipeError as error:
            # who read our output has gone; Python's own flush at exit must not complain either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from error
        except OSError as error:
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        except KeyboardInterrupt as error:
            say("interrupted")
            raise typer.Exit(130) from error


def _fail(message: str) -> NoReturn:
    say("error: " + " ".join(message.split()))
    raise typer.Exit(2)


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
) -> None:
    """Find entities in a domain nobody labelled, by selecting and merging per-domain experts."""


add_command(app, "extract", extract.extract)
add_command(app, "adapt", adapt.adapt)
add_command(app, "select", select.select)
add_command(app, "train", train.train)
app.add_typer(pool.app, name="pool")
app.add_typer(prompts.app, name="prompts")
add_command(app, "merge", merge.merge)
add_command(app, "export", export.export)
add_command(app, "evaluate", evaluate.evaluate)
add_command(app, "benchmark", benchmark.benchmark)
add_command(app, "schema", schema.schema)
