"""JSON Lines of tokens: GLiNER's ``tokenized_text`` and ``ner``, the hub's ``tokens`` and ``ner_tags``.

The text is the tokens joined by one blank, or what is under ``text`` if it holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from reprlib import repr as short
from typing import Any

from samner.data import tags
from samner.data.formats.base import Dialect, Record, refuse_unknown_labels, rest
from samner.data.validation import check_example, declines, example_from_fields, located
from samner.entities import Example
from samner.errors import DataError

TAGS = ("ner_tags", "tags", "ner", "labels", "label", "iob_tags", "bio_tags", "ner_labels")
_TOKENS = ("tokens", "words")


def is_gliner(record: Record) -> bool:
    """Whether it holds GLiNER's tokens."""
    return "tokenized_text" in record


def read_gliner(record: Record, labelled: bool) -> Example:
    """Spans name their first and last token, both inclusive."""
    tokens = _tokens(record["tokenized_text"], "tokenized_text")
    text, starts = tags.place(tokens, record.get("text"))
    if not labelled:
        return example_from_fields(text, None, rest(record))
    meta = rest(record, "tokenized_text", "ner")
    if declines(record) or record.get("ner") is None:
        return example_from_fields(text, None, meta)
    spans = []
    for index, span in enumerate(_list(record["ner"], "ner")):
        if not isinstance(span, list) or len(span) != 3:
            raise DataError(f"ner[{index}]: must be [first token, last token, label], not {short(span)}")
        first, last, label = span
        if type(first) is not int or type(last) is not int or not 0 <= first <= last < len(tokens):
            raise DataError(
                f"ner[{index}]: {short(first)} to {short(last)} are no tokens of the {len(tokens)}; GLiNER counts "
                "them from 0, the last one inclusive"
            )
        spans.append({"start": starts[first], "end": starts[last] + len(tokens[last]), "label": label})
    return example_from_fields(text, spans, meta, "ner")


def _write_gliner(example: Example) -> dict[str, Any]:
    tokens, found = tags.encode(example, "gliner")
    return {"tokenized_text": tokens, "ner": [list(span) for span in found], **_text(example, tokens), **example.meta}


def is_tagged(record: Record) -> bool:
    """Whether it holds tokens as strings, and no text with labels of its own."""
    key = _key(record)
    return key is not None and ("text" not in record or tag_key(record) is not None)


def tag_key(record: Record) -> str | None:
    """The key of the tags: one for each token."""
    key = _key(record)
    count = len(record[key]) if key else 0
    for name in TAGS:
        value = record.get(name)
        if isinstance(value, list) and len(value) == count and all(isinstance(tag, str | int) for tag in value):
            return name
    return next(
        (name for name in TAGS if name in record and (name == TAGS[0] or isinstance(record[name], list))), None
    )


def examples(
    records: Iterable[tuple[str, Record]], noting: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[Example]:
    """The examples of tagged records and their places; all are read first, since one tag anywhere tells the scheme."""
    rows = []
    for place, record in records:
        with noting(), located(place):
            key = _key(record)
            if key is None:
                raise DataError(f"has no tokens, which others of this file have; it holds {', '.join(record)}")
            tokens = _tokens(record[key], key)
            name = tag_key(record)
            if name is None:
                refuse_unknown_labels(record)
            said = _tags(record[name], len(tokens), name) if name and not declines(record) else []
            rows.append((place, tokens, name, said, record.get("text"), rest(record, key, name or "")))
    ends = tags.marks_ends(tag for row in rows for tag in row[3])
    for place, tokens, name, said, text, meta in rows:
        example = None
        with noting():
            where = partial("{}: {}[{}]".format, place, name)
            decoded = tags.decode(tokens, said, where, ends=ends, text=text, meta=meta)
            with located(place):
                check_example(decoded)
            example = decoded
        if example is not None:
            yield example


def _read_tagged(record: Record, labelled: bool) -> Example:
    key = _key(record)
    text, _ = tags.place(_tokens(record[key or ""], key or ""), record.get("text"))
    return example_from_fields(text, None, rest(record))


def _write_tagged(example: Example) -> dict[str, Any]:
    tokens, said = tags.encode_bio(example, "tokens")
    return {"tokens": tokens, "ner_tags": said, **_text(example, tokens), **example.meta}


def _text(example: Example, tokens: list[str]) -> dict[str, str]:
    """The text itself, where it is not the tokens joined by blanks."""
    return {} if example.text == " ".join(tokens) else {"text": example.text}


def _key(record: Record) -> str | None:
    for key in _TOKENS:
        value = record.get(key)
        if isinstance(value, list) and not any(isinstance(token, dict) for token in value):
            return key
    return None


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{key} must be a list, not {short(value)}")
    return value


def _tokens(tokens: object, key: str) -> list[str]:
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise DataError(f"{key} must be a list of strings that are not empty, not {short(tokens)}")
    return tokens


def _tags(said: object, count: int, key: str) -> list[str]:
    if not isinstance(said, list) or len(said) != count:
        raise DataError(f"{key} must be a list of {count} tags, one a token, not {short(said)}")
    for index, tag in enumerate(said):
        if not isinstance(tag, str):
            raise DataError(
                f"{key}[{index}] is {tag!r}; it must be a string, or a number that a ClassLabel names; write the "
                "names, such as B-person"
            )
    return said


GLINER = Dialect(is_gliner, read_gliner, _write_gliner, ids=False)
TAGGED = Dialect(is_tagged, _read_tagged, _write_tagged, ids=False)
