"""The command line. One file a verb; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper

from samner.errors import SamnerError


def main() -> None:
    """Run ``samner`` with the arguments of the process."""
    _open_closed_streams()

    from samner.cli.app import app
    from samner.cli.output import guarded

    with guarded():
        _check_folder()

    for name in ("SIGTERM", "SIGHUP"):  # the latter when a terminal is closed; not everywhere, and not under nohup
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a table must not fail on a character the terminal lacks
    app()


def _check_folder() -> None:
    """Refuse to work in a folder that was removed, where torch ends the process with words of its own."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise SamnerError("the folder that this runs in was removed; go to one that exists") from error


def _leave(number: int, frame: object) -> None:
    """Leave as if by itself, so that what is half-written is cleared away, whatever comes meanwhile."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _open_closed_streams() -> None:
    """Have the null device where a standard stream is closed, as by ``>&-`` or in some schedulers.

    Python has None there, which nothing can write to, and the next file that is opened would get the stream's number.
    """
    for name, how in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, how, encoding="utf-8"))  # noqa: SIM115
