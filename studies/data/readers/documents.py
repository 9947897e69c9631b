"""Documents with annotations beside them: BRAT's, and those of the SOFC corpus."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from samner.data import tags
from samner.entities import Example
from studies.data.sources import Files
from studies.data.texts import Span, chunks, tidy

_ENTITY = re.compile(r"T\d+\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t")


def _spans(annotations: str) -> Iterator[list[Span]]:
    """The pieces of each of BRAT's entities. samner's reader refuses one in pieces, since it cannot say it."""
    for line in annotations.split("\n"):
        if told := _ENTITY.match(line):
            places = [piece.split() for piece in told[2].split(";")]
            yield [(int(start), int(end), told[1]) for start, end in places]


def _documents(files: Files, part: str) -> Iterator[tuple[str, str, list[list[Span]]]]:
    """Name, text and entities of the documents that have both a text and annotations, in the order of their names."""
    for item in files.items(part):
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for path, text in files.texts_of(item):
            found[path[:-4]][path[-3:]] = text
        for name, document in sorted(found.items()):
            if "txt" in document and ("ann" in document or not files.source.options.get("annotated", True)):
                yield name, document["txt"], list(_spans(document.get("ann", "")))


def lines(files: Files, part: str) -> Iterator[list[Example]]:
    """Wet lab protocols: a line of two words or more is a text; entities in pieces are left out."""
    for _, text, entities in _documents(files, part):
        spans = [pieces[0] for pieces in entities if len(pieces) == 1]
        rows, at = [], 0
        for line in text.split("\n"):
            if len(line.split()) > 1:
                inside = [(s - at, e - at, t) for s, e, t in spans if at <= s and e <= at + len(line)]
                rows.append(tidy(line, inside, files.label))
            at += len(line) + 1
        yield rows


def mentions(files: Files, part: str) -> Iterator[list[Example]]:
    """SoMeSci: articles in chunks of about 60 words; a list says which article is of which part."""
    parts = json.loads(files.text(files.source.options["parts"]))
    part_of = {name: other for other, names in parts.items() for name in names}
    wanted = files.source.options["called"][part]
    for name, text, entities in _documents(files, part):
        if part_of.get(PurePosixPath(name).name, "train") == wanted:
            spans = [piece for pieces in entities for piece in pieces]
            yield [tidy(*chunk, files.label) for chunk in chunks(text, spans, 60)]


def procedures(files: Files, part: str) -> Iterator[list[Example]]:
    """Syntheses of materials: paragraphs in chunks of about 60 words, without the article's number."""
    for _, text, entities in _documents(files, part):
        spans = [piece for pieces in entities for piece in pieces]
        cut = chunks(text, spans, 60)
        yield [tidy(*chunk, files.label) for chunk in cut if not re.match(r"\s*10\.\d{4}", chunk[0])]


def experiments(files: Files, part: str) -> Iterator[list[Example]]:
    """SOFC-Exp: the sentences of articles that describe an experiment."""
    (_, table) = next(files.texts(part))
    folder = files.source.options["folder"]
    articles = csv.DictReader(io.StringIO(table), delimiter="\t")
    for article in sorted(articles, key=lambda row: row["name"]):
        name = article["name"].strip()
        if article["set"].strip() != part:
            continue
        text = files.text(f"{folder}/texts/{name}.txt")
        sentences = {cells[0]: cells for cells in _rows(files.text(f"{folder}/annotations/sentences/{name}.csv"))}
        tokens = defaultdict(list)
        for cells in _rows(files.text(f"{folder}/annotations/entity_types_and_slots/{name}.csv")):
            tokens[cells[0]].append(cells)
        rows = []
        for number in sorted(tokens, key=int):
            start, end = (int(cell) for cell in sentences[number][2:4])
            rows.append(tidy(text[start:end], _tagged(tokens[number]), files.label))
        yield rows


def _rows(text: str) -> list[list[str]]:
    return [cells for line in text.splitlines() if len(cells := line.split("\t")) >= 4]


def _tagged(tokens: list[list[str]]) -> list[Span]:
    """Spans of rows: sentence, token, first character, the one after the last, tag."""
    starts, ends = [int(cells[2]) for cells in tokens], [int(cells[3]) for cells in tokens]
    said = tags.iob1_to_bio([cells[4].strip() for cells in tokens])
    spans: list[Span] = []
    for start, end, tag in zip(starts, ends, said, strict=True):
        if tag.startswith("B-"):
            spans.append((start, end, tag[2:]))
        elif tag.startswith("I-"):
            spans[-1] = (spans[-1][0], end, tag[2:])
    return spans
