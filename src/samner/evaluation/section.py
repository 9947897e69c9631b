"""A part of a Markdown file that a command writes, between markers; what people wrote around it stays."""

from __future__ import annotations

from pathlib import Path

from samner.errors import SamnerError
from samner.files import atomic_file

BEGIN = "<!-- samner evaluate: begin -->"
END = "<!-- samner evaluate: end -->"
_TITLE = "# Results"


def check_section(path: Path) -> None:
    """Make sure that ``write_section`` will find its place; better known before hours of work than after.

    Raises:
        SamnerError: If the file exists but cannot be read or does not hold each marker once, in order.
    """
    if path.exists():
        _around(path)


def write_section(path: Path, text: str) -> None:
    """Put ``text`` between the markers of a file, or make the file with a title.

    Raises:
        SamnerError: As ``check_section``.
    """
    before, after = _around(path) if path.exists() else (f"{_TITLE}\n\n", "\n")
    with atomic_file(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8", newline="")


def _around(path: Path) -> tuple[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SamnerError(f"{path}: cannot be read as UTF-8 text") from error
    before, found, rest = content.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended or BEGIN in rest or END in before or END in after:
        raise SamnerError(f"{path}: must hold the lines {BEGIN!r} and {END!r} once, in this order; or name a new file")
    return before, after
