"""Texts with marks in them: XML of several tools, and Markdown with links."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from samner.entities import Example
from studies.data.drawing import draw
from studies.data.sources import Files
from studies.data.texts import Span, apart, chunks, find, tidy, without_edges


def _elements(text: str, tag: str) -> Iterator[ElementTree.Element]:
    """The elements of a name, without broken ones; read one by one, so that no entity of XML can be declared."""
    for element in re.findall(rf"<{tag}>.*?</{tag}>", text, re.S):
        try:
            yield ElementTree.fromstring(element)
        except ElementTree.ParseError:
            continue


def tagged_strings(files: Files, part: str) -> Iterator[list[Example]]:
    """Addresses and names as parserator has them, an element a word; neighbours of one type are one span."""
    for item in files.items(part):
        rows = []
        for _, content in files.texts_of(item):
            for element in _elements(content, files.source.options["element"]):
                text = element.text or ""
                spans: list[Span] = []
                for child in element:
                    start, text = len(text), text + "".join(child.itertext())
                    if spans and spans[-1][2] == child.tag and not text[spans[-1][1] : start].strip():
                        start = spans.pop()[0]
                    spans.append((start, len(text), child.tag))
                    text += child.tail or ""
                rows.append(tidy(text, without_edges(text, spans), files.label))
        yield from ([row] for row in (draw(rows, item.draw) if item.draw else rows))


_PEOPLE = ("author", "editor", "translator", "director", "producer")


def references(files: Files, part: str) -> Iterator[list[Example]]:
    """AnyStyle: entries of bibliographies, an element a field."""
    for _, text in files.texts(part):
        for element in _elements(text, "sequence"):
            line, spans = "", []
            for child in element:
                if field := " ".join("".join(child.itertext()).split()):
                    line += " " if line else ""
                    spans.append((len(line), len(line) + len(field), child.tag))
                    line += field
            found: list[Span] = []
            for start, end, type_ in without_edges(line, spans):
                if type_ in ("container-title", "editor") and (word := re.match("[Ii]n:? ", line[start:end])):
                    start += word.end()
                if type_ not in _PEOPLE and line[end - 1] == "." and line[start:end].count(".") == 1:
                    end -= 1
                found += without_edges(line, [(start, end, type_)])
            yield [tidy(line, found, files.label)]


def sentences_with_names(files: Files, part: str) -> Iterator[list[Example]]:
    """GROBID-NER: sentences with ENAMEX elements, which may nest; runs of ten are a document."""
    for _, text in files.texts(part):
        for paragraph in re.split(r"<p(?:aragraph)?[ >]", text)[1:]:
            sentences = re.findall(r"<sentence[^>]*>(.*?)</sentence>", paragraph, re.S)
            rows = [tidy(*_names(sentence), files.label) for sentence in sentences]
            yield from (rows[start : start + 10] for start in range(0, len(rows), 10))


def _names(sentence: str) -> tuple[str, list[Span]]:
    text = ""
    spans: list[Span] = []
    open_: list[tuple[int, str]] = []
    for piece in re.split(r"(<[^>]+>)", sentence):
        if opening := re.match(r'<ENAMEX[^>]*?type="([^"]+)"', piece):
            if text and text[-1].isalnum() and spans and spans[-1][1] == len(text):
                text += " "
            open_.append((len(text), opening[1]))
        elif piece.startswith("</ENAMEX") and open_:
            start, type_ = open_.pop()
            spans.append((start, len(text), type_))
        elif not piece.startswith("<"):
            text += html.unescape(piece)
    return text, spans


_LINK = re.compile(r"\[([^\]]+)\]\((?:https://attack\.mitre\.org/(\w+)/([\w./]+))?")
_CODE = re.compile(r"(?:<code>|`)(.*?)(?:</code>|`)$", re.S)
_MARK = re.compile(r"(\[[^\]]+\]\([^)]*\)|<code>.*?</code>|`[^`\n]+`)", re.S)


def threat_descriptions(files: Files, part: str) -> Iterator[list[Example]]:
    """ATT&CK: descriptions of its objects in chunks of about 50 words, those with a span.

    Spans are links to other objects, later mentions of their names, and code; what is linked, the address says.
    """
    objects: dict[str, dict[str, Any]] = {}
    tools: set[str | None] = set()
    for _, text in files.texts(part):
        described = json.loads(text)["objects"][0]
        if not (described.get("revoked") or described.get("x_mitre_deprecated")):
            objects[described["id"]] = described
            if described["type"] == "tool":
                tools.update(reference.get("external_id") for reference in described["external_references"])
    for _, described in sorted(objects.items()):
        plain = ""
        spans: list[Span] = []
        for piece in _MARK.split(re.sub(r"\(Citation: [^)]*\)", "", described.get("description", ""))):
            start, type_ = len(plain), ""
            if link := _LINK.match(piece):
                plain += link[1]
                type_ = "tool" if link[3] in tools and link[2] == "software" else link[2] or ""
            elif code := _CODE.match(piece):
                plain += html.unescape(code[1])
                type_ = "code" if plain[start:].strip() else ""
            else:
                plain += piece
            if type_ in files.source.labels:
                spans.append((start, len(plain), files.source.labels[type_] or ""))
        code_label = files.source.labels["code"]
        names = {(plain[s:e], label) for s, e, label in spans if label != code_label and e - s > 2}
        for name, label in names:
            spans += [(s, e, label) for s, e in find(plain, name, every=True) if plain[s:e] == name]
        rows = [tidy(*chunk, str) for chunk in chunks(plain, apart(set(spans)), 50)]
        yield [row for row in rows if row.entities]
