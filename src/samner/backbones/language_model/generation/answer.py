"""What a language model's answer says, also if it is not quite the JSON that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from samner.backbones.language_model.generation.loose_json import Leaf, Node, Pairs, Reading, readings
from samner.entities import EntityType

_TEXT_KEYS = {"text", "entity", "name", "mention", "span", "string", "value"}
_LABEL_KEYS = {"label", "type", "entity_type", "category", "class"}
_FENCE = re.compile(r"```\w*")


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity as an answer names it.

    Args:
        label: Name of its entity type.
        text: The string.
        span: Where the string stands in the answer, escapes and all, without its quotation marks.
    """

    label: str
    text: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read from an answer.

    Args:
        mentions: In the order of the answer, each string once per label.
        status: ``"valid"``: strict JSON of the form and with the labels asked for; an object may lack labels.
            ``"repaired"``: read all the same. ``"unreadable"``: there is nothing to be read.
        notes: What was repaired or left out, for people.
    """

    mentions: tuple[Mention, ...]
    status: str
    notes: tuple[str, ...] = ()


def parse(raw: str, prompt_format: str, types: Sequence[EntityType], asked: EntityType | None = None) -> Answer:
    """Read an answer, whatever it is. Every mention's text stands in the answer at its span; nothing is made up.

    Of several lists or objects, the first is read that has the form asked for and its words in quotation marks: models
    talk before they answer, and go on after it with questions of their own.

    Args:
        raw: The answer, from its first character to its last.
        prompt_format: The form asked for, see ``Prompt.format``.
        types: Asked for.
        asked: The type of this question, where each type has its own.
    """
    types = [asked] if asked else types
    found = [one for one in readings(raw) if not _is_prose(raw, one)]
    if not found:
        return Answer((), "unreadable", ("no JSON in the answer",))
    reading = min(found, key=lambda one: not _fits(one.value, prompt_format))
    collected = _Collected(prompt_format, [t.name for t in types])
    alone = collected.labels[0] if len(types) == 1 and prompt_format != "pairs" else None
    collected.add(reading.value, alone)

    unique: dict[tuple[str, str], Mention] = {}
    for mention in collected.mentions:
        unique.setdefault((mention.label, mention.text), mention)
    mentions = tuple(unique.values())
    if repeats := len(collected.mentions) - len(mentions):
        collected.notes[f"{repeats} said again"] = None
    if _is_strict(raw, prompt_format, collected.labels):
        return Answer(mentions, "valid", tuple(collected.notes))
    if not mentions and not _says_none(reading, prompt_format):
        return Answer((), "unreadable", (*_around(raw, reading), *reading.notes, *collected.notes, "nothing to read"))
    cut = (f"cut off after {len(mentions)} mention{'' if len(mentions) == 1 else 's'}",) if reading.cut else ()
    notes = (*_around(raw, reading), *reading.notes, *collected.notes, *cut)
    return Answer(mentions, "repaired", notes or ("another form than the one asked for",))


@dataclass(slots=True)
class _Collected:
    """Mentions of an answer of whatever form.

    Args:
        format: The one asked for.
        labels: Asked for.
    """

    format: str
    labels: Sequence[str]
    mentions: list[Mention] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # ordered, each once

    def add(self, node: Node, label: str | None) -> None:
        """Add the mentions in a part of an answer.

        Args:
            node: The part.
            label: Of its strings that stand alone, if known.
        """
        if isinstance(node, Leaf):
            if label is None:
                self.notes[f"{node.text!r} has no label"] = None
            elif not node.text.strip():
                self.notes["a blank string"] = None
            else:
                self.mentions.append(Mention(label, node.text, node.span))
        elif isinstance(node, list):
            self._add_list(node, label)
        else:
            self._add_object(node)

    def _add_list(self, nodes: list[Node], label: str | None) -> None:
        if label is None and sum(isinstance(node, Leaf) for node in nodes) == 2:
            string, named, *others = nodes
            if isinstance(string, Leaf) and isinstance(named, Leaf):
                self._add_labelled(string, named)
                nodes = others  # pairs of which this one was not closed
        for node in nodes:
            self.add(node, label)

    def _add_object(self, node: Pairs) -> None:
        strings = [value for key, value in node.items if _fold(key.text) in _TEXT_KEYS and isinstance(value, Leaf)]
        named = [value for key, value in node.items if _fold(key.text) in _LABEL_KEYS and isinstance(value, Leaf)]
        if len(strings) == len(named) == 1:  # {"text": "Ada", "type": "person"}
            self._add_labelled(strings[0], named[0])
            return
        seen: set[str] = set()
        for key, value in node.items:
            label = self._label(key.text)
            if key.text in seen:
                self.notes[f"{key.text!r} given twice"] = None
            seen.add(key.text)
            if label is None:
                self.notes[f"unknown label {key.text!r}"] = None
                if not isinstance(value, Leaf):
                    self.add(value, None)
            else:
                self.add(value, label)

    def _add_labelled(self, string: Leaf, named: Leaf) -> None:
        if (label := self._label(named.text)) is not None:
            self.add(string, label)
        elif (label := self._label(string.text)) is not None:
            self.notes["a label before its string"] = None
            self.add(named, label)
        else:
            self.notes[f"unknown label {named.text!r}"] = None

    def _label(self, said: str) -> str | None:
        """The label asked for that this is, or that it is but for case, blanks, hyphens and underscores."""
        if said in self.labels:
            return said
        alike = [label for label in self.labels if _fold(label) == _fold(said)]
        if len(alike) != 1:
            return None
        self.notes[f"label {said!r} taken for {alike[0]!r}"] = None
        return alike[0]


def _fold(label: str) -> str:
    return re.sub(r"[\s_-]+", "_", label.strip()).casefold()


def _fits(value: Node, prompt_format: str) -> bool:
    if isinstance(value, Pairs) != (prompt_format == "object"):
        return False
    if prompt_format == "pairs" and isinstance(value, list) and any(isinstance(item, Leaf) for item in value):
        return False
    return all(leaf.quoted for leaf in _leaves(value))


def _leaves(node: Node) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, list):
        for item in node:
            yield from _leaves(item)
    else:
        for key, value in node.items:
            yield key
            yield from _leaves(value)


def _is_prose(raw: str, reading: Reading) -> bool:
    """Whether brackets are part of a sentence, as in "see [1]"."""
    leaves = list(_leaves(reading.value))
    around = raw[: reading.span[0]] + raw[reading.span[1] :]
    return bool(leaves) and not any(leaf.quoted for leaf in leaves) and bool(re.search(r"\w", _FENCE.sub("", around)))


def _says_none(reading: Reading, prompt_format: str) -> bool:
    """Whether an answer without mentions is one that found none, not one that cannot be read."""
    value = reading.value
    empty = not (value.items if isinstance(value, Pairs) else value)
    return not reading.cut if empty else _fits(value, prompt_format)


def _around(raw: str, reading: Reading) -> Iterator[str]:
    start, end = reading.span
    before, after = raw[:start], raw[end:]
    if _FENCE.search(before):
        yield "a code fence"
    if _FENCE.sub("", before).strip():
        yield "words before the JSON"
    if _FENCE.sub("", after).strip():
        yield "words after the JSON"


def _is_strict(raw: str, prompt_format: str, labels: Sequence[str]) -> bool:
    try:
        value = json.loads(raw.strip(), object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return False
    if prompt_format == "object":
        if not isinstance(value, _Members):
            return False
        keys = [key for key, _ in value]
        return len(set(keys)) == len(keys) and set(keys) <= set(labels) and all(_strings(v) for _, v in value)
    if prompt_format == "list":
        return _strings(value)
    return type(value) is list and all(_strings(pair) and len(pair) == 2 and pair[1] in labels for pair in value)


class _Members(list[Any]):
    """The members of a JSON object, for whom a key given twice is still two."""


def _strings(value: object) -> bool:
    return type(value) is list and all(isinstance(item, str) for item in value)
