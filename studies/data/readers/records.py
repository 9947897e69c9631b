"""JSON, CSV and a workbook, each of a shape of its own."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from samner.entities import Example
from samner.errors import SamnerError
from studies.data.readers.tokens import columns
from studies.data.repositories import LARGEST
from studies.data.sources import Files, json_lines
from studies.data.texts import Span, apart, covered, find, tagged, tidy, words


def _objects(text: str) -> Any:
    return json.loads(text) if text.lstrip().startswith("[") else json_lines(text)


def indian_legal(files: Files, part: str) -> Iterable[list[Example]]:
    """Columns for train, else JSON that samner reads; of test, where both are, the preambles or the judgments.

    Options: those of :func:`studies.data.readers.tokens.columns`, and ``wanted``.
    """
    if part == "train":
        return columns(files, part)
    path, text = next(files.texts(part))
    rows = files.examples(path, text.encode(), None)
    if part == "test":
        wanted = files.source.options["wanted"]
        _, held = list(files.texts(part))
        preambles = {record["data"]["text"] for record in json.loads(held[1])}
        rows = [row for row in rows if (row.text in preambles) == (wanted == "preambles")]
    return [[tidy(row.text, (entity.key for entity in row.entities), files.label) for row in rows]]


def spans(files: Files, part: str) -> Iterator[list[Example]]:
    """Objects with spans, of characters or of tokens, under the keys that the options name; one text, one document.

    Options: ``text`` or ``tokens``, and ``spans`` (their key, then those of start, end and type).
    """
    options = files.source.options
    key, start, end, type_ = options["spans"]
    for _, text in files.texts(part):
        for record in _objects(text):
            found = [(span[start], span[end], span[type_]) for span in record[key]]
            if "tokens" in options:
                yield [covered(record[options["tokens"]], apart(found), files.label)]
            else:
                yield [tidy(record[options["text"]], found, files.label)]


def work_orders(files: Files, part: str) -> Iterator[list[Example]]:
    """MaintIE: the most specific of its hierarchical types; one with fewer than 8 mentions counts as its parent."""
    (_, text) = next(files.texts(part))
    records = json.loads(text)
    count = Counter(entity["type"] for record in records for entity in record["entities"])

    def label(type_: str) -> str:
        *above, last = type_.split("/")
        if above and count[type_] < 8:
            *above, last = above
        if not above or last in ("Activity", "Process", "State", "Property"):
            return words(last)
        return words(last) + (" activity" if above[0] == "Activity" and not last.endswith("Activity") else "")

    for record in records:
        found = [(entity["start"], entity["end"], entity["type"]) for entity in record["entities"]]
        yield [covered(record["tokens"], apart(found), label)]


def events(files: Files, part: str) -> Iterator[list[Example]]:
    """GENEVA: the arguments of events; train is the union of its samples, without what dev and test hold."""
    records = [record for _, text in files.texts(part) for record in json_lines(text)]
    if part == "train":
        held = {r["wnd_id"] for other in ("dev", "test") for _, text in files.texts(other) for r in json_lines(text)}
        records = _union(record for record in records if record["wnd_id"] not in held)
    rows = []
    for record in records:
        places = {entity["id"]: (entity["start"], entity["end"]) for entity in record["entity_mentions"]}
        found = [
            (*places[argument["entity_id"]], f"{event['event_type']}|{argument['role']}")
            for event in record["event_mentions"]
            for argument in event["arguments"]
        ]
        rows.append(covered(record["tokens"], found, files.label))
    yield rows


def _union(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record a text, with the mentions of all of them."""
    first: dict[str, dict[str, Any]] = {}
    for record in records:
        known = first.setdefault(record["wnd_id"], record)
        for key in ("event_mentions", "entity_mentions"):
            ids = {mention["id"] for mention in known[key]}
            known[key] += [mention for mention in record[key] if mention["id"] not in ids]
    return list(first.values())


def trials(files: Files, part: str) -> Iterator[list[Example]]:
    """Titles and summaries of trials as tokens and tags, cut between sentences of 25 tokens or more."""
    rows = []
    for _, text in files.texts(part):
        for record in json_lines(text):
            tokens, types, start = record["tokens"], record["ner_tags"], 0
            for index, token in enumerate(tokens):
                last = index + 1 == len(tokens)
                long = token in ".?!" and index + 1 - start >= 25
                if last or ((token == "|" or long) and types[index] == "O" and types[index + 1][0] != "I"):
                    stop = index if token == "|" else index + 1
                    rows.append(tagged(tokens[start:stop], types[start:stop], files.label))
                    start = index + 1
    yield rows


def drug_safety(files: Files, part: str) -> Iterator[list[Example]]:
    """PHEE: arguments of drug events and what is within them; the parts of a split mention are spans of their own."""
    rows = []
    for _, text in files.texts(part):
        for record in json_lines(text):
            found = [
                span
                for annotation in record["annotations"]
                for event in annotation["events"]
                for span in _arguments(event, "", words(event["event_type"]).replace("potential ", ""))
            ]
            rows.append(tidy(record["context"], found, files.label))
    yield rows


def _arguments(node: Mapping[str, Any], above: str, event: str) -> Iterator[Span]:
    for role, values in node.items():
        if not role[0].isupper():
            continue
        name = f"{above}.{role}" if above else role
        type_ = "Combination.Drug" if name.endswith("Combination.Drug") else name
        if name in ("Trigger", "Effect"):
            type_ = f"{name} of {event}"
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, Mapping):
                for texts, starts in zip(value.get("text", []), value.get("start", []), strict=False):
                    yield from ((start, start + len(text), type_) for text, start in zip(texts, starts, strict=False))
                yield from _arguments(value, name, event)


def products(files: Files, part: str) -> Iterator[list[Example]]:
    """OA-Mine: values of attributes, looked for in the title."""
    for _, text in files.texts(part):
        for record in json_lines(text):
            title = record["input"]
            found = [
                (*place, attribute)
                for attribute, values in record["target_scores"].items()
                for value in values
                if value != "n/a"
                for place in find(title, value)
            ]
            named = [(start, end, words(attribute)) for start, end, attribute in found]
            yield [tidy(title, apart(named), files.label)]


_AMOUNT = re.compile(r"(?<![\d/.])(?:\d+[\s-]+)?\d+/\d+|(?<![\d/.])\d+(?:\.\d+)?(?![\d/])")


def _number(text: str) -> float | None:
    """The value of 1, 1/2, 1 1/2 or 0.5."""
    read = re.fullmatch(r"(?:(\d+)[\s-]+)?(\d+)/(\d+)|(\d+(?:\.\d+)?)", text)
    if not read or read[3] == "0":
        return None
    return float(read[4]) if read[4] else float(read[1] or 0) + int(read[2]) / int(read[3])


def ingredients(files: Files, part: str) -> Iterator[list[Example]]:
    """Lines of recipes with name, amounts, unit and comment in columns of their own, looked for in the line."""
    for _, text in files.texts(part):
        for row in csv.DictReader(io.StringIO(text)):
            line, name = row["input"] or "", row["name"] or ""
            found: list[Span] = [(*place, "ingredient name") for place in find(line, name)]
            if not found or re.search(r"[,;(]", name):
                continue
            for column in ("qty", "range_end"):
                wanted = float(row[column] or 0)
                amounts = ((match.span(), _number(match[0])) for match in _AMOUNT.finditer(line))
                places = [p for p, value in amounts if wanted and value is not None and abs(value - wanted) < 0.011]
                found += [(*place, column) for place in places[:1]]
            if unit := row["unit"]:
                found += [(*p, "unit") for p in find(line, unit) or find(line, f"{unit}s") or find(line, f"{unit}es")]
            comment = re.sub(r"^\(([^()]*)\)$", r"\1", (row["comment"] or "").strip(" ,."))
            start = line.find(comment)
            if comment and comment.count("(") == comment.count(")") and start >= 0:
                found.append((start, start + len(comment), "ingredient comment"))
            named = [(s, e, files.source.labels.get(t) or t) for s, e, t in found]
            yield [tidy(line, apart(named), files.label)]


_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_KIND = re.compile(r"(py1|[a-z_]*[a-z])(?:_\d+)*")


def workbook(files: Files, part: str) -> Iterator[list[Example]]:
    """KPI-EDGAR: a report is a sheet, a sentence a row of tokens with a row of their annotations below."""
    rows = []
    for item in files.items(part):
        for sheet in _sheets(files.content(item.path)):
            tokens: list[str] = []
            if sheet[0].get(2) != files.source.options["parts"][part]:
                continue
            for cells in sheet[1:]:
                if cells.get(1) == "Sentence":
                    tokens = [cells.get(column, "") for column in range(2, max(cells) + 1)]
                elif cells.get(1) == "Manual Annotations":
                    said = [cells.get(column, "") for column in range(2, len(tokens) + 2)]
                    pairs = zip(tokens, _bio(said, files), strict=True)
                    kept = [(clean, tag) for token, tag in pairs if (clean := "".join(token.split()))]
                    rows.append(tagged([token for token, _ in kept], [tag for _, tag in kept], files.label))
    yield rows


def _bio(said: list[str], files: Files) -> Iterator[str]:
    before = ""
    for cell in said:
        kind = _KIND.fullmatch(cell.strip())
        known = kind and kind[1] in files.source.labels
        yield f"{'I' if cell == before else 'B'}-{kind[1]}" if kind and known else "O"
        before = cell


def _sheets(content: bytes) -> Iterator[list[dict[int, str]]]:
    """The rows of each sheet: their cells by column, from 1."""
    book = zipfile.ZipFile(io.BytesIO(content))
    if sum(member.file_size for member in book.infolist()) > 32 * LARGEST:
        raise SamnerError("a workbook is too large when it is unpacked")
    shared = [
        "".join(text.text or "" for text in item.iter(f"{_SHEET}t"))
        for item in ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
    ]
    for name in sorted(name for name in book.namelist() if name.startswith("xl/worksheets/")):
        sheet = []
        for row in ElementTree.fromstring(book.read(name)).iter(f"{_SHEET}row"):
            cells = {}
            for cell in row.iter(f"{_SHEET}c"):
                value = cell.find(f"{_SHEET}v")
                if value is not None and value.text is not None:
                    letters = re.match("[A-Z]+", cell.get("r", "A"))
                    column = 0
                    for letter in letters[0] if letters else "A":
                        column = column * 26 + ord(letter) - 64
                    cells[column] = shared[int(value.text)] if cell.get("t") == "s" else value.text
            sheet.append(cells)
        if sheet:
            yield sheet
