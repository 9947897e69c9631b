"""The command line. One file a verb; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import signal
import sys
from io import TextIOWrapper


def main() -> None:
    """Run ``samner`` with the arguments of the process."""
    from samner.cli.app import app

    # as if it left by itself, so that what is half-written is cleared away
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a table must not fail on a character the terminal lacks
    app()
