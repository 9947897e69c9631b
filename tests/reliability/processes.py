"""The command line in processes that can be killed: forked from this one, which has imported and read all it needs."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """How a process ended: exit code (negative: by that signal), what it said on standard error, seconds."""

    code: int
    said: str
    seconds: float


def forked(work: Callable[[], object], errors: Path, *, kill_after: float | None = None) -> Ended:
    """Do some work in a process of its own, which may be killed after some seconds."""
    began, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            os.write(ready, b".")
            work()
            code = 0
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.read(began, 1)
    os.close(began)
    os.close(ready)
    started = time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), errors.read_text(errors="replace"), time.monotonic() - started)


def samner(*arguments: object) -> Callable[[], object]:
    """The work of a command line."""

    def run() -> object:
        from samner.cli import main

        sys.argv = ["samner", *map(str, arguments)]
        return main()

    return run


def warm(*commands: Sequence[object]) -> None:
    """Have this process import and read what commands need; not ``train``, after which torch cannot be forked."""
    from typer.testing import CliRunner

    import samner.backbones.language_model.token_classification.training
    import samner.training  # noqa: F401
    from samner.cli.app import app

    for command in commands:
        result = CliRunner().invoke(app, [str(argument) for argument in command])
        assert result.exit_code == 0, result.stderr


def is_one_line(said: str) -> bool:
    """Whether an error was told as users are to see it: one line, no traceback."""
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    return len(lines) == 1 and "Traceback" not in said
