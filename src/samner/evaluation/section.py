"""A part of a Markdown file that a command writes, between markers; what people wrote around it stays."""

from __future__ import annotations

from pathlib import Path

from samner.errors import SamnerError
from samner.files import atomic_file

_TITLE = "# Results"


def markers(maker: str) -> tuple[str, str]:
    """The lines around the part that a command writes.

    Args:
        maker: What the part is called, for instance the command.
    """
    return f"<!-- {maker}: begin -->", f"<!-- {maker}: end -->"


def check_section(path: Path, maker: str) -> None:
    """Make sure that ``write_section`` will find its place; better known before hours of work than after.

    Raises:
        SamnerError: If the file exists but cannot be read or does not hold each marker once, in order.
    """
    if path.exists():
        _around(path, maker)


def write_section(path: Path, maker: str, text: str) -> None:
    """Put ``text`` between the markers of a file, or make the file with a title.

    Raises:
        SamnerError: As ``check_section``.
    """
    before, after = _around(path, maker) if path.exists() else (f"{_TITLE}\n\n", "\n")
    begin, end = markers(maker)
    with atomic_file(path) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8", newline="")


def _around(path: Path, maker: str) -> tuple[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SamnerError(f"{path}: cannot be read as UTF-8 text") from error
    begin, end = markers(maker)
    before, found, rest = content.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended or begin in rest or end in before or end in after:
        raise SamnerError(f"{path}: must hold the lines {begin!r} and {end!r} once, in this order; or name a new file")
    return before, after
