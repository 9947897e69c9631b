"""Words of others (from a card, a text, a file's name) as they may be shown: on a terminal, in a line, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr

# C0 and C1 controls and DEL, line separators, marks that turn the direction of text, and half surrogate pairs
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|&$~]")


def printable(text: str, *, lines: bool = True) -> str:
    """The text with what a terminal would obey, rather than show, written out as Python does, as backslash and code.

    Letters of any script, emoji and joiners stay as they are.

    Args:
        text: Any text.
        lines: Whether line breaks and tabs stay as they are.
    """
    text = _UNSHOWN.sub(_escape, text)
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


def printable_json(text: str) -> str:
    """JSON of the same meaning that is as printable: what is escaped can stand inside of strings only."""
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def brief(value: object, most: int = 80) -> str:
    """A value as Python writes it, in one short line however long or deep it is."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = most
    short.maxlevel = 3
    text = printable(short.repr(value), lines=False)
    return text if len(text) <= 2 * most else f"{text[:most]}...{text[-most // 2 :]}"


def cut(text: str, most: int = 1000) -> str:
    """The text, without its middle if it is longer than a message should be."""
    return text if len(text) <= most else f"{text[: most * 3 // 4]} ... {text[-most // 5 :]}"


def known_names(name: str, known: Iterable[str], most: int = 12) -> str:
    """The names there are, where ``name`` is none of them: all of a few, else those most like it."""
    names = list(known)
    if len(names) <= most:
        return ", ".join(names) or "none"
    alike = get_close_matches(name, names, 3) or names[:3]
    return f"{', '.join(alike)}, ... ({len(names):,} in all)"


def reason(error: BaseException) -> str:
    """What another package's error says, in one line: the first of its message, or else its name."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def markdown(text: str) -> str:
    """The text in one line of Markdown that means nothing but the text: no link, no HTML, no column of a table."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(" ".join(text.split()), lines=False))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
