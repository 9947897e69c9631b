"""Which column of a file of tokens is what: told by content, since no suffix and no order of columns tells."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

from samner.errors import DataError

TOKEN_NAMES = ("token", "tokens", "word", "words", "form")
TAG_NAMES = ("tag", "tags", "ner", "ner_tag", "ner_tags", "ne", "entity", "iob", "bio", "label", "labels")
_TEXT_ID = re.compile(r"(sentence|sent|document|doc|text|tweet|paragraph)[ _-]?(#|id|ids|idx|index|no|num|number)?")

_TAG = re.compile(r"O|[BIESLU]-.*")
_NUMBER = re.compile(r"\d+")
_BRACKETS = re.compile(r"\*|\*\)|\([\w.-]+\*?\)?")
_CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"}
_INDEX = re.compile(r"\d+(?:[-.]\d+)?")
_RANGE = re.compile(r"\d+[-.]\d+")


class Row(NamedTuple):
    """A row of a file: its line and its cells."""

    line: int
    cells: list[str]


class Columns(NamedTuple):
    """Which column is the token's and which the tag's, from 0."""

    token: int
    tag: int


def splitter(lines: Iterable[str]) -> Callable[[str], list[str]]:
    """How rows fall into cells: at tabs, or blanks, or (of a row without either) commas or semicolons."""
    rows = [line for line in lines if line.strip(" \t")]
    first = next((row for row in rows if not row.startswith("#")), rows[0] if rows else "")
    if "\t" in first:  # the first row tells: where tabs part columns, a blank is part of one
        return lambda line: line.split("\t")
    if len(first.split()) == 1:
        for mark in ",;":
            if len(cells := _split_at(first, mark)) > 1 and (is_tag(cells[-1]) or header(cells)):
                return partial(_split_at, mark=mark)
    return lambda line: re.split("[ \t]+", line.strip(" \t"))


def _split_at(line: str, mark: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return [line]


def is_tag(cell: str) -> bool:
    """Whether a cell is a tag of BIO, BIOES or BILOU."""
    return _TAG.fullmatch(cell) is not None


def header(cells: Sequence[str]) -> Columns | None:
    """Which columns a row names, if it is a header."""
    lower = [cell.strip().lower() for cell in cells]
    token = next((lower.index(name) for name in TOKEN_NAMES if name in lower), None)
    tag = next((lower.index(name) for name in TAG_NAMES if name in lower), None)
    return None if token is None or tag is None else Columns(token, tag)


def names_text(name: str) -> bool:
    """Whether the name of a column, in lower case, says that it tells which text a token is of."""
    return _TEXT_ID.fullmatch(name) is not None


def is_comment(line: str, cells: Sequence[str], others: Sequence[str] | None) -> bool:
    """Whether a row before the first token of a text is no token: it may be a hashtag.

    Args:
        line: The row.
        cells: Of the row.
        others: Of a row that is a token; None if there is none yet.
    """
    if not line.startswith("#") or (others is not None and len(others) != len(cells)):
        return line.startswith("#")
    if others is None or cells[0] == "#":
        return not is_tag(cells[-1])
    return line.count("\t") != len(cells) - 1 and not any(map(is_tag, cells))


def without_ranges(text: list[Row]) -> list[Row]:
    """A text without the ranges (1-2) and empty nodes (5.1) of CoNLL-U, if its rows are numbered."""
    numbered = all(_INDEX.fullmatch(row.cells[0]) for row in text) and any(len(row.cells) > 2 for row in text)
    return [row for row in text if not (numbered and _RANGE.fullmatch(row.cells[0]))]


def find(texts: Sequence[Sequence[Row]], name: str, labelled: bool) -> Columns:
    """Which columns of texts, whose rows are all of one width, hold tokens and tags.

    Args:
        texts: Their rows.
        name: Of the file, for error messages.
        labelled: Whether tags are wanted; otherwise it does not matter which of several columns they are.

    Raises:
        DataError: If two columns may be the tags and nothing says which, or they are of a scheme that is not read.
    """
    rows = [row for text in texts for row in text]
    width = len(rows[0].cells)
    by_column = [[row.cells[column] for row in rows] for column in range(width)]
    try:
        tag = _tag_column(by_column, width > 2 and _counts(by_column[0]), name, rows[0].line)
    except DataError:
        if labelled:
            raise
        tag = width - 1
    cells = [cell for row in rows for cell in row.cells]
    if not labelled and any(" " in cell for cell in cells) and not any(map(is_tag, cells)):
        raise DataError(
            f"{name}:{rows[0].line}: no column looks like tags ({describe(rows[0])}), and what has blanks in it is no "
            "token; put a header above and name the column of the text, as in --format csv:COLUMN"
        )
    return Columns(_token_column(by_column, [len(text) for text in texts], tag), tag)


def _token_column(by_column: list[list[str]], lengths: Sequence[int], tag: int) -> int:
    """The first column that holds no tags, does not count rows, and is not the same in all rows of a text."""
    others = [i for i in range(len(by_column)) if i != tag]
    plain = [i for i in others if not all(map(is_tag, by_column[i]))]
    counts = [i for i in plain if _counts(by_column[i])]
    begins = set(accumulate(lengths, initial=0))  # where texts begin, or rows are counted anew
    begins |= {row for i in counts for row, (a, b) in enumerate(pairwise(map(int, by_column[i])), 1) if b <= a}
    within = [row for row in range(len(by_column[0])) if row not in begins]
    named = [i for i in plain if len(within) > 1 and all(by_column[i][r] == by_column[i][r - 1] for r in within)]
    told = [i for i in plain if i not in counts and i not in named]
    return (told or [i for i in plain if i not in counts] or plain or others)[0]


def _tag_column(by_column: list[list[str]], numbered: bool, name: str, line: int) -> int:
    whole = [i for i, cells in enumerate(by_column) if all(map(is_tag, cells))]
    whole = [i for i in whole if i > 0 or len(whole) == 1]  # of a few rows, words may look like tags
    named = [i for i in whole if (labels := _labels(by_column[i])) and not labels <= _CHUNKS]
    if len(named) > 1 and numbered:
        return named[0]  # GermEval: the outer entities, then those within them
    if len(named) > 1 and [by_column[i] for i in named].count(by_column[named[-1]]) != len(named):
        columns = " and ".join(str(i + 1) for i in named)
        raise DataError(
            f"{name}:{line}: the columns {columns} look like tags; keep the token and one of them "
            f"(cut -f1,{named[0] + 1})"
        )
    if named:
        return named[-1]
    if whole:
        plain = [i for i in whole if not _labels(by_column[i])]
        return (plain or whole)[0 if numbered and plain else -1]
    for i, cells in enumerate(by_column):
        if "*" in cells and all(map(_BRACKETS.fullmatch, cells)):
            raise DataError(
                f"{name}:{line}: column {i + 1} has tags in brackets, as OntoNotes does; make them tags of BIO "
                "(B-PERSON)"
            )
    shares = [sum(map(is_tag, cells)) / len(cells) for cells in by_column]
    best = max(range(len(shares)), key=lambda i: (shares[i], i))
    return best if shares[best] >= 0.5 else len(shares) - 1


def _labels(cells: Sequence[str]) -> set[str]:
    return {cell[2:] for cell in cells if cell != "O"}


def _counts(cells: Sequence[str]) -> bool:
    """Whether a column counts the tokens: of all texts, or of each anew."""
    numbers = [int(cell) if _NUMBER.fullmatch(cell) else -1 for cell in cells]
    steps = all(number in (0, 1, before + 1) for before, number in pairwise([0, *numbers]))
    return -1 not in numbers and steps and len(set(numbers)) > 1


def describe(row: Row) -> str:
    """What is in which column, in words."""
    return ", ".join(f"column {i} has {cell[:30]!r}" for i, cell in enumerate(row.cells, start=1))
