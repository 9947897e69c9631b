"""Files of tokens and their tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from samner.entities import Example
from studies.data.sources import Files, json_lines
from studies.data.texts import merged, renamed, tagged, tidy, trimmed


def columns(files: Files, part: str) -> Iterator[list[Example]]:
    """Rows of a token and its tag, read by samner; a file is a document.

    Options: ``format`` (of samner: conll or iob1), ``mend`` (rows are not all alike: see :func:`_mended`; ``tabs`` or
    ``blanks`` says what parts them), ``trim`` (punctuation sticks to the tokens), ``leave_out`` (texts that match it),
    ``verbatim`` (characters without a shape are kept).
    """
    options = files.source.options
    leave_out = re.compile(options.get("leave_out") or r"(?!)")
    for path, text in files.texts(part):
        if options.get("mend"):
            text = _mended(text, "\t" if options["mend"] == "tabs" else None)
        rows = files.examples(path, text.encode(), options["format"])
        if options.get("verbatim"):
            rows = [renamed(row, files.label) for row in rows]
        else:
            rows = [tidy(row.text, (e.key for e in row.entities), files.label, invisible="") for row in rows]
        rows = [row for row in rows if not leave_out.fullmatch(row.text)]
        yield [trimmed(row) for row in rows] if options.get("trim") else rows


def _mended(text: str, mark: str | None) -> str:
    """Rows that samner reads as IOB1, of rows that are not all alike.

    A token is the first cell, its tag the last. A row without a tag is left out, one without a token ends a text; what
    is no tag of a type is O. Of tags that mark ends, which not all files keep to, one that goes on after an end begins
    an entity.
    """
    rows = []
    ended = True
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(mark)]
        if not cells or not cells[0]:
            rows.append("")
        elif len(cells) > 1 and cells[0] != "-DOCSTART-":
            prefix, _, type_ = cells[-1].partition("-")
            begins = "B" if prefix in ("B", "S", "U") or ended else "I"
            rows.append(f"{''.join(cells[0].split())}\t{f'{begins}-{type_}' if type_ else 'O'}")
            ended = prefix in ("E", "L", "S", "U")
    return "\n".join([*rows, ""])


def blocks(text: str, mark: str | None = None) -> Iterator[list[list[str]]]:
    """The rows of each text, as cells."""
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        cells = [cell.strip() for cell in line.split(mark)]
        if cells and cells[0]:
            rows.append(cells)
        elif rows:
            yield rows
            rows = []


def layers(files: Files, part: str) -> Iterator[list[Example]]:
    """Files with the same tokens, each with tags of another type: a text has the entities of all.

    Fragments of at most three tokens without an entity are left out.
    """
    rows = []
    for group in zip(*(blocks(text) for _, text in files.texts(part)), strict=True):
        words = [[cells[0] for cells in layer] for layer in group]
        row = merged(tagged(words[0], [cells[-1] for cells in layer], files.label) for layer in group)
        if len(words[0]) > 3 or row.entities:
            rows.append(row)
    yield rows


_HEADS = ("Question_ID", "Question_URL", "Answer_to_Question_ID")


def questions(files: Files, part: str) -> Iterator[list[Example]]:
    """Stack Overflow's posts: without the rows that say which post it is, code blocks and lines of one token."""
    for _, text in files.texts(part):
        rows = []
        for cells in blocks(text, "\t"):
            words = [row[0] for row in cells]
            if words[0] not in _HEADS and not {"CODE_BLOCK", "OUTPUT_BLOCK"} & set(words):
                rows.append(tagged(words, [row[1] for row in cells], files.label))
        yield [row for row in rows if len(row.text.split()) > 1]


def sentences(files: Files, part: str) -> Iterator[list[Example]]:
    """Lines of a sentence, a tab and its tags, between the marks of its beginning and end."""
    for _, text in files.texts(part):
        rows = []
        for line in text.splitlines():
            sentence, _, said = line.partition("\t")
            words, types = sentence.split()[1:-1], said.split()[1:-1]
            if words and len(words) == len(types):
                rows.append(tagged(words, types, files.label))
        yield rows


def paired(files: Files, part: str) -> Iterator[list[Example]]:
    """Tags of one repository beside the tokens of another, in the same order."""
    (_, said), (_, held) = files.texts(part)
    tokens: list[Sequence[str]] = [record["tokens"] for record in json.loads(held)["examples"]]
    types: list[Sequence[str]] = [record["labels"] for record in json_lines(said)]
    pairs = zip(tokens, types, strict=True)
    yield [tagged(words, tags, files.label) for words, tags in pairs if len(words) == len(tags)]
