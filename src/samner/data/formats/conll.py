"""CoNLL: a token a row, its columns parted by tabs or blanks, the tag in the last; a blank row ends a text.

The text is the tokens joined by one blank. ``-DOCSTART-`` rows are skipped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from samner.data import tags
from samner.data.lines import read_lines, source_name, write_text
from samner.entities import Example
from samner.errors import DataError


class _Row(NamedTuple):
    line: int
    token: str
    tag: str


def read(path: Path, labelled: bool) -> Iterator[Example]:
    """Read texts tagged in BIO, or in BIOES or BILOU if a tag of the file marks an end."""
    return _read(path, labelled, iob1=False)


def read_iob1(path: Path, labelled: bool) -> Iterator[Example]:
    """Read texts tagged in IOB1, where B- only parts neighbours of one type."""
    return _read(path, labelled, iob1=True)


def write(examples: Iterable[Example], path: Path) -> None:
    """Write tokens and BIO tags, parted by a tab since labels may hold blanks."""
    write_text(examples, path, _format)


def _read(path: Path, labelled: bool, *, iob1: bool) -> Iterator[Example]:
    texts = list(_texts(path))  # all of them, since one tag anywhere tells the scheme
    ends = labelled and tags.marks_ends(row.tag for text in texts for row in text)
    if iob1 and ends:
        raise DataError(f"{source_name(path)}: has tags that mark ends (E-, L-, S-, U-), so it is not IOB1 but conll")
    for text in texts:
        row_tags = [row.tag for row in text] if labelled else []
        if iob1:
            row_tags = tags.iob1_to_bio(row_tags)
        yield tags.decode([row.token for row in text], row_tags, partial(_place, path, text), ends=ends)


def _place(path: Path, text: list[_Row], index: int) -> str:
    return f"{source_name(path)}:{text[index].line}"


def _texts(path: Path) -> Iterator[list[_Row]]:
    text: list[_Row] = []
    tabs, width, first = False, 0, 0
    for number, line in read_lines(path):
        if not line.strip(" \t") or re.match(r"-DOCSTART-(\s|$)", line):
            if text:
                yield text
            text = []
            continue
        if not width:
            tabs = "\t" in line  # the first row tells: where tabs part columns, a blank is part of one
        columns = line.split("\t") if tabs else re.split("[ \t]+", line.strip(" \t"))
        if not width:
            width, first = len(columns), number
        place = f"{source_name(path)}:{number}"
        if len(columns) < 2:
            raise DataError(f"{place}: has a single column; a row is a token, a tab or blank, and last its tag")
        if len(columns) != width:
            raise DataError(
                f"{place}: has {len(columns)} columns, but line {first} has {width}; all must have as many"
            )
        if not columns[0]:
            raise DataError(f"{place}: has no token in its first column; a blank row ends a text")
        text.append(_Row(number, columns[0], columns[-1]))
    if text:
        yield text


def _format(example: Example) -> str:
    spans = [match.span() for match in _token().finditer(example.text)]
    if not spans:
        raise DataError("a text without a word cannot be said in CoNLL; write jsonl")
    starts = {start: index for index, (start, _) in enumerate(spans)}
    ends = {end: index for index, (_, end) in enumerate(spans)}
    row_tags = ["O"] * len(spans)
    for entity in example.entities:
        named = f"the entity {entity.start}:{entity.end} {entity.label!r}"
        first, last = starts.get(entity.start), ends.get(entity.end)
        if re.search(r"[\t\r\n]", entity.label):
            raise DataError(f"{named} has a tab or line break in its label, which CoNLL cannot say; write jsonl")
        if first is None or last is None:
            raise DataError(f"{named} does not begin and end with a token, which BIO cannot say; write jsonl")
        if any(tag != "O" for tag in row_tags[first : last + 1]):
            raise DataError(f"{named} overlaps another, which BIO cannot say; write jsonl")
        row_tags[first : last + 1] = [f"B-{entity.label}"] + [f"I-{entity.label}"] * (last - first)
    rows = (f"{example.text[start:end]}\t{tag}\n" for (start, end), tag in zip(spans, row_tags, strict=True))
    return "".join(rows) + "\n"


@cache
def _token() -> re.Pattern[str]:
    """A word, or one sign of punctuation; combining marks stay with the letter they belong to."""
    # \w leaves out combining marks and joiners, without which words of Hindi or Persian fall to pieces
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c).startswith("M"))
    marks += "\u200c\u200d"
    return re.compile(rf"[\w{marks}]+|[^\w\s][{marks}]*")
