"""What is said to assistants: turns of dialogues, templates that they were made from, queries with slots."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from samner.entities import Example
from studies.data.drawing import draw, key
from studies.data.sources import Files
from studies.data.texts import Span, apart, bracketed, covered, find, tidy, words

_TREE = re.compile(r"\[[A-Z]+:[A-Z_]+|\]|[^\s\]\[]+|\[")


def parse_trees(files: Files, part: str) -> Iterator[list[Example]]:
    """TOP: the outermost slots of trees of intents and slots, without what the annotators did not understand."""
    for _, text in files.texts(part):
        records = list(csv.reader(io.StringIO(text), delimiter="\t"))[1:]
        yield [_tree(record[1], files) for record in records if len(record) > 1 and "IN:UN" not in record[1]]


def _tree(tree: str, files: Files) -> Example:
    tokens: list[str] = []
    spans: list[Span] = []
    open_: list[tuple[str, int]] = []  # what each bracket began: a slot's name, or nothing, and where
    for piece in _TREE.findall(tree):
        if piece.startswith(("[SL:", "[IN:")):
            open_.append((piece[4:] if piece[1] == "S" else "", len(tokens)))
        elif piece == "]" and open_:
            slot, start = open_.pop()
            if slot and len(tokens) > start and not any(name for name, _ in open_):
                spans.append((start, len(tokens), slot))
        else:
            tokens.append(piece)
    return covered(tokens, spans, files.label)


def slot_label(files: Files, service: str, slot: str) -> str:
    """What a slot of Schema-Guided Dialogue is called, which may need the domain that its service is of."""
    options = files.source.options
    if named := files.source.labels.get(slot):
        return named
    domain = options["domains"].get(service.split("_")[0])
    return f"{domain} {words(slot)}" if domain and slot in options["of_a_domain"] else words(slot)


def turns(files: Files, part: str) -> Iterator[list[Example]]:
    """Schema-Guided Dialogue: the turns with the spans of their slots."""
    for _, text in files.texts(part):
        for dialogue in json.loads(text):
            rows = []
            for turn in dialogue["turns"]:
                found = [
                    (slot["start"], slot["exclusive_end"], slot_label(files, frame["service"], slot["slot"]))
                    for frame in turn["frames"]
                    for slot in frame["slots"]
                    if "start" in slot
                ]
                rows.append(tidy(turn["utterance"], found, str))
            yield rows


class _Template(NamedTuple):
    pattern: re.Pattern[str]
    slots: list[str]
    task: str


_SLOT = re.compile(r"\{(\w+)(?::\w)?\}")
_EQUALS = re.compile(r'\s*(?:api\.is_equal_to\()?"?\s*([^"\[\]()]+?)\s*"?\)?\s*')
_NO_VALUE = ("null", "true", "false", "yes", "no")


def suggestions(files: Files, part: str) -> Iterator[list[Example]]:
    """STAR, where no span is marked: they are found by templates and by the values that the wizard looks up.

    A wizard's turn has the slots of its template; a user's turn the values, as whole words, that were looked up in the
    same dialogue. Only turns with a span.

    Options: ``names`` (what a slot "name" is, by task), ``not_looked_up`` and ``not_said`` (slots without names).
    """
    options = files.source.options
    templates_in, dialogues_in = files.items(part)

    def label(slot: str, task: str) -> str | None:
        slot = words(slot).replace(" ", "_")
        if slot in ("id", "booking_id"):
            return "flight number" if task.startswith("plane") else "ride booking number"
        if slot == "name":
            return str(options["names"].get(task.split("_")[0]) or "") or None
        return files.source.labels.get(slot) or words(slot)

    templates = defaultdict(list)
    for path, text in files.texts_of(templates_in):
        for act, template in json.loads(text).items():
            slots = _SLOT.findall(template)
            if slots and act != "out_of_scope":
                pieces = re.split(r"\{\w+(?::\w)?\}", template)
                pattern = "(.+?)".join(r"\s+".join(map(re.escape, re.split(r"\s+", piece))) for piece in pieces)
                templates[act].append(_Template(re.compile(rf"{pattern}\s*$"), slots, path.split("/")[1]))
    for _, text in files.texts_of(dialogues_in):
        rows = []
        events = json.loads(text)["Events"]
        values: dict[str, set[str | None]] = defaultdict(set)
        for slot, value, task in _looked_up(events):
            told = _EQUALS.fullmatch(value)
            value = told[1].lower() if told else ""
            known = words(slot).replace(" ", "_") not in options["not_looked_up"]
            if known and len(value) > 2 and value not in _NO_VALUE:
                values[value].add(label(slot, task))
        for event in events:
            said = event.get("Text") or ""
            found: list[Span] = []
            if (event.get("Agent"), event.get("Action")) == ("User", "utter"):
                sure = [(value, name) for value, names in values.items() if len(names) == 1 for name in names if name]
                found = apart((*place, name) for value, name in sure for place in find(said, value, every=True))
            elif (event.get("Agent"), event.get("Action")) == ("Wizard", "pick_suggestion"):
                found = _filled(said, templates.get(event.get("ActionLabel"), []), label, options["not_said"])
            if found:
                rows.append(tidy(said, found, str))
        yield rows


def _looked_up(events: list[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for event in events:
        for constraint in event.get("Constraints") or []:
            for slot, value in constraint.items():
                yield slot, str(value), event["APIName"]


def _filled(said: str, templates: list[_Template], label: Any, without: list[str]) -> list[Span]:
    """The slots of the first template that the turn was made from, without an article."""
    for template in templates:
        if made := template.pattern.match(said):
            found = []
            for group, slot in enumerate(template.slots, start=1):
                name = label(slot, template.task)
                if slot not in without and name and 0 < len(made[group]) < 60:
                    value = re.sub("^an? ", "", made[group])
                    found.append((made.end(group) - len(value), made.end(group), name))
            return found
    return []


def meaning_representations(files: Files, part: str) -> Iterator[list[Example]]:
    """ViGGO: values of slots, looked for in the sentence that says them."""
    several = files.source.options["several"]
    for _, text in files.texts(part):
        for record in csv.DictReader(io.StringIO(text)):
            said, found = record["ref"], []
            for slot, told in re.findall(r"(\w+)\[([^\]]+)\]", record["mr"]):
                if name := files.source.labels.get(slot):
                    for value in told.split(", ") if slot in several else [told]:
                        found += [(*place, name) for place in _said(said, slot, value)]
            yield [tidy(said, apart(found), str)]


def _said(text: str, slot: str, value: str) -> list[tuple[int, int]]:
    """Where a value is said, or what stands for it: "E 10" for "E 10+ (for ...)", a genre's plural."""
    if places := find(text, value, every=True):
        return places
    if slot == "esrb":
        return find(text, "E 10") if value.startswith("E 10") else find(text, value.split(" (")[0], every=True)
    if slot == "genres":
        parts = (place for one in value.split("/") for place in find(text, one, every=True))
        return find(text, f"{value}s", every=True) or list(parts)
    return []


_ANNOTATION = r"\[\s*(?P<type>[^:\]]+?)\s*:\s*(?P<text>[^\]]*?)\s*\]"


def annotated_queries(files: Files, part: str) -> Iterator[list[Example]]:
    """HWU64: ``wake me up at [time : five am]``."""
    for _, text in files.texts(part):
        rows = csv.DictReader(io.StringIO(text), delimiter=";")
        yield [tidy(*bracketed(row["answer_annotation"] or "", _ANNOTATION), files.label) for row in rows]


_OPENING = re.compile(r"\{@?([\w ]+?)\s*=\s*")


def utterances(files: Files, part: str) -> Iterator[list[Example]]:
    """Examples of Bot Framework's .lu files: ``- book a room for {NumNights=two} nights``; each text once in all."""
    seen = set()
    for item in files.items(part):
        rows = []
        for _, text in files.texts_of(item):
            for line in text.split("\n"):
                told = re.match(r"\s*[-*+]\s+(.*\S)\s*$", line)
                if told is None or "{" not in told[1] or re.search(r"[\[\]^|`$]", told[1]):
                    continue
                read = _braces(told[1])
                if read and key(read[0]) not in seen:
                    seen.add(key(read[0]))
                    rows.append(tidy(*read, files.label))
        yield from ([row] for row in draw([row for row in rows if row.entities], item.draw))


def _braces(line: str) -> tuple[str, list[Span]] | None:
    """Text and spans of braces, which may nest; None if one has no value."""
    text, spans, open_, index = "", [], [], 0
    while index < len(line):
        if opening := _OPENING.match(line, index):
            open_.append((len(text), opening[1]))
            index = opening.end()
            continue
        if line[index] == "}" and open_:
            start, type_ = open_.pop()
            spans.append((start, len(text), type_))
        elif line[index] in "{}":
            return None
        else:
            text += line[index]
        index += 1
    return None if open_ else (text, spans)
