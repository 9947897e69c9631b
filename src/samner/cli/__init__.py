"""The command line. One file a verb; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper


def main() -> None:
    """Run ``samner`` with the arguments of the process."""
    _open_closed_streams()

    from samner.cli.app import app

    # as if it left by itself, so that what is half-written is cleared away
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a table must not fail on a character the terminal lacks
    app()


def _open_closed_streams() -> None:
    """Have the null device where a standard stream is closed, as by ``>&-`` or in some schedulers.

    Python has None there, which nothing can write to, and the next file that is opened would get the stream's number.
    """
    for name, how in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, how, encoding="utf-8"))  # noqa: SIM115
