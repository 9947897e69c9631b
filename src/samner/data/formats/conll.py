"""CoNLL: a token a row, its columns parted by tabs, blanks or commas, one of them the tag; a blank row ends a text.

The text is the tokens joined by one blank, or what a comment row ``# text = ...`` says if it holds them. Other comment
rows before a text are its meta: ``# key = value``, or ``# id 17 domain=en``. ``-DOCSTART-`` rows, ranges and empty
nodes of CoNLL-U and a header are no tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from samner.data import tags
from samner.data.formats import columns
from samner.data.formats.columns import Columns, Row
from samner.data.lines import Source, write_text
from samner.entities import Example
from samner.errors import DataError

_AS_BIO: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "conll": list,
    "iob1": tags.iob1_to_bio,
    "io": tags.io_to_bio,
}
SUFFIXES = (".conll", ".bio", ".iob", ".iob2", ".bioes", ".conllu")
_LITERAL = re.compile(r'["{\[].*|true|false|null|-?(?:0|[1-9]\d*)')


class _Text(NamedTuple):
    rows: list[Row]
    meta: dict[str, Any]


def read(source: Source, labelled: bool, column: str | None, scheme: str = "conll") -> Iterator[Example]:
    """Read tagged texts.

    Args:
        source: The file.
        labelled: Whether tags are looked at.
        column: Not for this format.
        scheme: ``"conll"`` for BIO, or BIOES or BILOU if a tag of the file marks an end; ``"iob1"``, where B- only
            parts neighbours of one type; ``"io"``, labels without prefixes.
    """
    if column is not None:
        raise DataError(f"{source.name}: columns of CoNLL are told by what they hold, not by a name ({column!r})")
    texts, which = _texts(source)  # all of them, since one tag anywhere tells the scheme, and the columns
    if not texts:
        return
    column_of = which or columns.find([text.rows for text in texts], source.name, labelled)
    said = [[row.cells[column_of.tag] for row in text.rows] for text in texts] if labelled else [[] for _ in texts]
    ends = scheme != "io" and tags.marks_ends(tag for row_tags in said for tag in row_tags)
    if scheme == "iob1" and ends:
        raise DataError(f"{source.name}: has tags that mark ends (E-, L-, S-, U-), so it is not IOB1 but conll")
    if labelled and scheme == "conll":
        _check_tags(source, texts, column_of.tag)
    for text, row_tags in zip(texts, said, strict=True):
        where = partial(_place, source, text.rows)
        example = None
        with source.noting():
            tokens = _tokens(source, text.rows, column_of.token)
            meta = dict(text.meta)
            given = meta.pop("text", None)
            example = tags.decode(tokens, _AS_BIO[scheme](row_tags), where, ends=ends, text=given, meta=meta)
        if example is not None:
            yield example


def _tokens(source: Source, rows: Sequence[Row], column: int) -> list[str]:
    for row in rows:
        if not row.cells[column]:
            which = "its first column" if column == 0 else f"column {column + 1}"
            raise DataError(f"{source.name}:{row.line}: has no token in {which}; a blank row ends a text")
    return [row.cells[column] for row in rows]


def write(examples: Iterable[Example], path: Path) -> None:
    """Write tokens and BIO tags, parted by a tab since labels may hold blanks, and meta as comment rows."""
    write_text(examples, path, _format)


def looks(source: Source) -> bool:
    """Whether there are a few rows, all of the same columns, of which one is tags."""
    if source.suffix in SUFFIXES:
        return True
    lines = source.text_head().split("\n")
    rows = [line for line in islice(lines, 1000) if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    split = columns.splitter(rows)
    cells = [split(row.removesuffix("\r")) for row in rows]
    if (
        len(cells) < (2 if "\t" in source.text_head() else 3)
        or len({len(row) for row in cells}) != 1
        or len(cells[0]) < 2
    ):
        return False
    said = [column for column in zip(*cells, strict=True) if all(map(columns.is_tag, column))]
    return any("O" in column and len(set(column)) > 1 for column in said)


def _place(source: Source, rows: list[Row], index: int) -> str:
    return f"{source.name}:{rows[index].line}"


def _texts(source: Source) -> tuple[list[_Text], Columns | None]:
    """The texts, and the columns if a header names them."""
    split = columns.splitter(source.text_head().split("\n"))
    texts: list[_Text] = []
    rows: list[Row] = []
    comments: list[str] = []
    model: Row | None = None  # a row that is a token, for its width
    named: Columns | None = None

    def end() -> None:
        nonlocal rows, comments
        if kept := columns.without_ranges(rows):
            texts.append(_Text(kept, _meta(comments)))
        rows, comments = [], []

    for number, line in source.lines():
        if not line.strip(" \t") or re.match(r"-DOCSTART-(\s|$)", line):
            end()
            continue
        cells = split(line)
        if not rows and columns.is_comment(line, cells, model and model.cells):
            if line.startswith("#FORMAT=WebAnno"):
                raise DataError(f"{source.name}: is WebAnno TSV of INCEpTION; export it as CoNLL instead")
            if line.startswith("#begin document"):
                raise DataError(f"{source.name}: is CoNLL-2012 of OntoNotes; make its column of names tags of BIO")
            comments.append(line)
            continue
        if model is None and (header := columns.header(cells)):
            named = header
            continue
        place = f"{source.name}:{number}"
        if len(cells) < 2:
            raise DataError(f"{place}: has a single column; a row is a token, a tab or blank, and last its tag")
        model = model or Row(number, cells)
        if len(cells) != len(model.cells):
            raise DataError(
                f"{place}: has {len(cells)} columns, but line {model.line} has {len(model.cells)}; all must have as "
                "many"
            )
        rows.append(Row(number, cells))
    end()
    return texts, named


def _meta(comments: Sequence[str]) -> dict[str, Any]:
    """What comment rows say: ``# key = value``, or ``# id 17 domain=en``; anything else under "comments"."""
    meta: dict[str, Any] = {}
    for comment in comments:
        content = comment.lstrip("#").strip()
        if pair := re.fullmatch(r"([\w.-]+) ?= ?(.*)", content):
            meta[pair[1]] = _value(pair[2])
        elif pair := re.fullmatch(r"id (\S+)((?: \w+=\S*)*)", content):
            meta["id"] = pair[1]
            meta.update(re.findall(r"(\w+)=(\S*)", pair[2]))
        elif content:
            meta.setdefault("comments", []).append(content)
    meta.pop("entities", None)
    return meta


def _value(content: str) -> Any:
    if _LITERAL.fullmatch(content):
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            pass
    return content


def _check_tags(source: Source, texts: Sequence[_Text], column: int) -> None:
    """Refuse a file without tags for that, rather than for the first word that is none."""
    rows = [row for text in texts for row in text.rows]
    said = {row.cells[column] for row in rows}
    wrong = next((row for row in rows if not columns.is_tag(row.cells[column])), None)
    if wrong is None or any(tag != "O" and columns.is_tag(tag) for tag in said):
        return
    if "O" in said:
        why = f"column {column + 1} has labels alone; such a file is read with the format io (--format io)"
    else:
        why = f"no column looks like tags ({columns.describe(rows[0])})"
    raise DataError(
        f"{source.name}:{wrong.line}: unknown tag {wrong.cells[column]!r}; a tag is O, or B-, I-, E-, S-, L- or U- "
        f"before a label; {why}"
    )


def _format(example: Example) -> str:
    for entity in example.entities:
        if re.search(r"[\t\r\n]", entity.label):
            raise DataError(
                f"{tags.named(entity)} has a tab or line break in its label, which CoNLL cannot say; write jsonl"
            )
    tokens, said = tags.encode_bio(example, "CoNLL")
    rows = [f"{token}\t{tag}\n" for token, tag in zip(tokens, said, strict=True)]
    return "".join([*_comments(example), *rows, "\n"])


def _comments(example: Example) -> Iterator[str]:
    for key, value in example.meta.items():
        if key == "comments" and isinstance(value, list):
            yield from (f"# {comment}\n" for comment in value)
            continue
        content = json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and _value(value) == value and value == value.strip() and "\n" not in value:
            content = value
        if not re.fullmatch(r"[\w.-]+", key):
            raise DataError(f"the name {key!r} of its meta cannot be said in CoNLL; write jsonl")
        yield f"# {key} = {content}\n"
