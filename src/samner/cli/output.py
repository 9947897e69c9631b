"""What the verbs show: lines, tables and progress for people, JSON for programs.

Data goes to standard output, everything said about it to standard error. Anything that moves is shown on a terminal
only. What stands in files of others is shown without what a terminal would obey.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from samner.display import printable, printable_json
from samner.errors import SamnerError
from samner.files import naming

if TYPE_CHECKING:
    from rich.console import Console

_UNBROKEN = 1_000_000  # width where there is no terminal: a line is not to be broken in a file or a pipe


def say(message: str) -> None:
    """A line on standard error."""
    print(printable(message), file=sys.stderr)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what a user can act on into one line and the end of the process; also as a decorator.

    Raises:
        SystemExit: With 2 after an error, 130 when interrupted, 141 when nobody reads the output any more.
    """
    try:
        yield
    except BrokenPipeError as error:
        # Python's own flush at exit must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from error
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich's console met it, and leaves with 1
            raise SystemExit(141) from error
        raise
    except (SamnerError, OSError) as error:
        said = str(error)
        if isinstance(error, OSError) and error.strerror:
            place = error.filename2 or error.filename  # of a copy, what could not be written
            said = f"{place}: {error.strerror}" if place else error.strerror
        say("error: " + " ".join(said.split()))
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        say("interrupted")
        raise SystemExit(130) from error


def counted(number: int, noun: str) -> str:
    """The number with the noun, ``"1 text"``, ``"2 texts"`` or ``"2 entities"``."""
    many = f"{noun[:-1]}ies" if noun.endswith("ty") else f"{noun}s"
    return f"{number} {noun if number == 1 else many}"


def write_stdout(text: str) -> None:
    """Data on standard output, in UTF-8 whatever the terminal's encoding."""
    with naming("standard output"):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()


def write_json(value: Any) -> None:
    """A readable JSON value on standard output."""
    write_stdout(printable_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def console(*, error: bool = False) -> Console:
    """A console that shows text as it is, ``printable``: no markup, no highlighting, no line broken in a pipe."""
    from rich.console import Console

    class Printable(Console):
        def print(self, *parts: Any, **how: Any) -> None:
            with naming(f"standard {'error' if error else 'output'}"):
                super().print(*(printable(part) if isinstance(part, str) else part for part in parts), **how)

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _UNBROKEN
    return Printable(stderr=error, width=width, markup=False, highlight=False, emoji=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Any:
    """A plain table, for ``console().print``.

    Args:
        columns: The headings.
        rows: The cells; a float is shown with three digits.
        right: Columns that are aligned to the right.
    """
    from rich.table import Table

    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(_cell(value) for value in row))
    return result


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value), lines=False)


@contextmanager
def status(message: str) -> Iterator[None]:
    """Say on a terminal what is being waited for."""
    if not sys.stderr.isatty():
        yield
        return
    with console(error=True).status(message):
        yield
