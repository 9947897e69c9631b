"""JSON as language models write it: read as far as it goes, with the place of every string and what was repaired.

Libraries that repair JSON give values, not where they stand in the answer, and do not say which of them they made up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

_DEEPEST = 8  # nested brackets; an answer needs two
_QUOTES = {'"': '"', "'": "'", "“": "”"}
_BRACKET = re.compile(r"[\[{]")
_BETWEEN = re.compile(r"(?:\s|//[^\n]*|,)*")
_SPACE = re.compile(r"\s*")
_NEXT_MEMBER = re.compile(r'[\]}]\s*,\s*"[^"\n]*"\s*:')

# A quotation mark ends a string if after it come: the end of the line; a bracket; a comma or colon and a value; words
# without quotation marks up to a bracket; a remark in parentheses; another string whose comma was forgotten.
_ENDS = re.compile(
    r"""[^\S\n]*(?:\n|$)
      | \s*[\]}]
      | \s*[,:]\s*(?:["'“\[{\]},]|//|$|(?:-?\d[\w.+-]*|null|none|true|false)\s*(?:[,\]}]|$))
      | \s*,[^"'“\[\]{}:]*[\]}]
      | \s*\([^()"\n]*\)\s*[,\]}]
      | \s+["“]""",
    re.VERBOSE | re.IGNORECASE,
)
_MAY_END = re.compile(r"\s*[,:]")
_ESCAPES = re.compile(r"""((?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))+)|\\'""")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string, or a word without quotation marks.

    Args:
        text: What it says, escapes resolved.
        span: Its characters in the answer, without the quotation marks.
        quoted: Whether it had any.
    """

    text: str
    span: tuple[int, int]
    quoted: bool


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object: its keys and values in order; a key may occur more than once."""

    items: list[tuple[Leaf, Node]]


Node: TypeAlias = "Leaf | Pairs | list[Node]"


@dataclass(frozen=True, slots=True)
class Reading:
    """A list or an object found in an answer.

    Args:
        value: What it holds.
        span: Where it stands.
        notes: What was repaired, each once.
        cut: Whether it has no end. What was not complete is left out.
    """

    value: Pairs | list[Node]
    span: tuple[int, int]
    notes: tuple[str, ...]
    cut: bool


def readings(raw: str) -> Iterator[Reading]:
    """The outermost lists and objects of an answer, one after the other."""
    at = 0
    while found := _BRACKET.search(raw, at):
        reader = _Reader(raw, found.start())
        value = reader.container()
        yield Reading(value, (found.start(), reader.at), tuple(reader.notes), reader.cut)
        at = reader.at


def unescape(content: str) -> str:
    """What the content of a JSON string says; an escape that JSON does not know stands for itself."""
    return _ESCAPES.sub(lambda found: json.loads(f'"{found[1]}"') if found[1] else "'", content)


@dataclass(slots=True)
class _Reader:
    raw: str
    at: int
    notes: dict[str, None] = field(default_factory=dict)  # ordered, each once
    cut: bool = False
    _open: str = ""  # brackets around the current place, outermost first
    _hopeless: set[str] = field(default_factory=set)  # quotation marks that end no string from here on

    def container(self) -> Pairs | list[Node]:
        """The list or object that begins here."""
        bracket = self.raw[self.at]
        self._open += bracket
        self.at += 1
        value: Pairs | list[Node] = self._list() if bracket == "[" else self._object()
        self._open = self._open[:-1]
        return value

    def _list(self) -> list[Node]:
        items: list[Node] = []
        before = self.at
        while self._next("]", first=not items):
            item = self._value(",]}\n")
            if item is None:
                continue
            if isinstance(item, Leaf) and item.quoted:
                if "{" in self._open and self._peek() == ":":
                    self._note("a list was not closed")
                    self.at = before
                    break
                self._skip_rest()
            items.append(item)
            before = self.at
        return items

    def _object(self) -> Pairs:
        items: list[tuple[Leaf, Node]] = []
        while char := self._next("}", first=not items):
            key = self._string() if char in _QUOTES else self._word(":,]}\n")
            if key is None:
                continue
            if self._peek() != ":":
                if not self._ended():
                    self._note(f"{key.text!r} has no value")
                continue
            self.at += 1
            if self._peek() in {",", "}"}:
                self._note(f"{key.text!r} has no value")
                continue
            value = None if self._ended() else self._value(",]}\n")
            if value is not None:
                items.append((key, value))
        return Pairs(items)

    def _next(self, closing: str, *, first: bool) -> str:
        """The first character of the next item; empty where the container ends, which may be at another's bracket."""
        while True:
            found = _BETWEEN.match(self.raw, self.at)
            assert found is not None  # it matches nothing, too
            self.at = found.end()
            if self._ended():
                self.cut = True
                return ""
            char = self.raw[self.at]
            if char not in "]}":
                if not first and "," not in found[0]:
                    self._note("a comma is missing")
                return char
            if "," in found[0]:
                self._note("a comma before a closing bracket")
            if char == closing:
                self.at += 1
                return ""
            if ("[" if char == "]" else "{") not in self._open:
                self._note(f"a {char!r} too many")
                self.at += 1
                continue
            if closing == "]" and _NEXT_MEMBER.match(self.raw, self.at):  # the object around it goes on
                self._note("a list closed by '}'")
                self.at += 1
            else:
                self._note("a list was not closed" if closing == "]" else "an object was not closed")
            return ""

    def _value(self, stops: str) -> Node | None:
        char = self.raw[self.at]
        if char in "[{" and len(self._open) < _DEEPEST:
            return self.container()
        return self._string() if char in _QUOTES else self._word(stops)

    def _string(self) -> Leaf | None:
        """The string that begins here; none, and the reader at the end of the answer, if it does not end."""
        opening = self.raw[self.at]
        start = self.at + 1
        end = self._end(start, _QUOTES[opening])
        if end is None:
            self.at = len(self.raw)
            self.cut = True
            return None
        self.at = end + 1
        content = self.raw[start:end]
        if opening != '"':
            self._note("other quotation marks than JSON's")
        elif not _is_json(content):
            self._note("a string with characters that JSON escapes")
        return Leaf(unescape(content), (start, end), True)

    def _end(self, start: int, quote: str) -> int | None:
        """Where a string ends: a quotation mark may stand within it, too."""
        marks = re.compile(rf"\\.|{quote}", re.DOTALL)
        for ends in (_ENDS, _MAY_END):
            if ends is _ENDS and quote in self._hopeless:
                continue
            for mark in marks.finditer(self.raw, start):
                if mark[0] == quote and ends.match(self.raw, mark.end()):
                    return mark.start()
            if ends is _ENDS:
                self._hopeless.add(quote)
        return None

    def _word(self, stops: str) -> Leaf | None:
        """A value or key without quotation marks; none if it is null, a sign, or perhaps not complete."""
        start = self.at
        self.at += 1  # never stand still
        while not self._ended() and self.raw[self.at] not in stops:
            self.at += 1
        word = self.raw[start : self.at].strip()
        if self._ended():
            self.cut = True
            return None
        if word.lower() in {"null", "none", "true", "false"} or not any(map(str.isalnum, word)):
            self._note(f"{word!r} is no string")
            return None
        if word[-1] in '"”':
            self._note("a quotation mark is missing")
            word = word[:-1].rstrip()
        else:
            self._note("words without quotation marks")
        start = self.raw.index(word, start)
        return Leaf(unescape(word), (start, start + len(word)), False)

    def _skip_rest(self) -> None:
        """Go to what comes after an item, over what should not be there."""
        start = self.at
        while not self._ended() and self.raw[self.at] not in ",]}\n\"'“[{":
            self.at += 1
        if self.raw[start : self.at].strip():
            self._note("words after a string")

    def _peek(self) -> str:
        """The next character that is not blank, where the reader goes."""
        found = _SPACE.match(self.raw, self.at)
        assert found is not None
        self.at = found.end()
        return self.raw[self.at : self.at + 1]

    def _ended(self) -> bool:
        return self.at >= len(self.raw)

    def _note(self, note: str) -> None:
        self.notes[note] = None


def _is_json(content: str) -> bool:
    try:
        json.loads(f'"{content}"')
    except ValueError:
        return False
    return True
