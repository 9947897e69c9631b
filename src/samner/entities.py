"""The nouns everything else speaks: entity types, entities, examples."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from samner.errors import SamnerError

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class EntityType:
    """A kind of entity to look for: a name, or a name with a description.

    Args:
        name: What the label is called in the output, for instance ``"disease"``; blanks around it do not count.
        description: What it means, for models that can use it. Empty when the name says enough.
    """

    name: str
    description: str = ""

    def __post_init__(self) -> None:
        for text in (self.name, self.description):
            if not isinstance(text, str):
                raise SamnerError(f"an entity type is told by text, not by {text!r}")
            if _SURROGATE.search(text):
                raise SamnerError(f"the entity type {text!r} holds half of a surrogate pair; give the whole pair")
        if not self.name.strip():
            raise SamnerError("an entity type needs a name that is not blank")
        object.__setattr__(self, "name", self.name.strip())

    @property
    def prompt(self) -> str:
        """The text by which a model is told what the type is: name, then description if there is one."""
        return f"{self.name}: {self.description}" if self.description else self.name


LabelsLike: TypeAlias = Iterable["str | EntityType"] | Mapping[str, str]
"""What callers may pass as labels: names, entity types, or a mapping from name to description."""


def entity_types(labels: LabelsLike) -> tuple[EntityType, ...]:
    """Normalise what a caller passed as labels; order is kept.

    Raises:
        SamnerError: If there are none, one is blank or not text, a name occurs twice, or no list was passed.
    """
    if isinstance(labels, str):
        raise SamnerError(f"labels must be a list of names, not the single string {labels!r}")
    if isinstance(labels, Mapping):
        types = tuple(EntityType(name, description or "") for name, description in labels.items())
    elif isinstance(labels, Iterable):
        types = tuple(label if isinstance(label, EntityType) else EntityType(label) for label in labels)
    else:
        raise SamnerError(f"labels must be a list of names, not {labels!r}")
    if not types:
        raise SamnerError("at least one label is needed, for instance labels=['person', 'organization']")
    seen: set[str] = set()
    for entity_type in types:
        if entity_type.name in seen:
            raise SamnerError(f"the label {entity_type.name!r} is given twice")
        seen.add(entity_type.name)
    return types


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled span of a text.

    Args:
        start: Offset of its first character, counted in Unicode code points as Python strings are.
        end: Offset just past its last character (exclusive).
        label: Name of its entity type; blanks around it do not count.
        score: Confidence in [0, 1]; 1 for gold.
        found_by: Names of the task models that found it; empty for gold.
        aligned: How a model's answer was found in the text: ``"exact"``, or ``"normalised"`` (by other case or
            blanks); empty for gold and for models that answer in offsets.
        text: The characters it covers, where they are known; two entities are equal whether they are or not.
        id: What the file it was read from calls it; relations may name it so. Two entities may be equal without it.
    """

    start: int
    end: int
    label: str
    score: float = 1.0
    found_by: tuple[str, ...] = ()
    aligned: str = ""
    text: str = field(default="", compare=False)
    id: str | int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        label: object = self.label
        # anything but text is for who checks entities to refuse
        if isinstance(label, str) and label.strip() != label:
            object.__setattr__(self, "label", label.strip())

    @property
    def key(self) -> tuple[int, int, str]:
        """What makes two entities the same: start, end and label."""
        return (self.start, self.end, self.label)


def shown_score(score: float) -> float:
    """A score to four digits, never rounded up: as a threshold it finds what it is of."""
    return math.floor(round(float(score) * 10_000, 3)) / 10_000  # 0.57 is 5699.999... of them


def to_fields(entity: Entity, text: str) -> dict[str, Any]:
    """The entity as an object with all its fields and the text it covers; ``aligned`` and ``id`` if it has them."""
    fields = {
        "start": entity.start,
        "end": entity.end,
        "label": entity.label,
        "text": text[entity.start : entity.end],
        "score": shown_score(entity.score),
        "found_by": list(entity.found_by),
    }
    if entity.aligned:
        fields["aligned"] = entity.aligned
    return fields if entity.id is None else {**fields, "id": entity.id}


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its entities. The entities may be gold or predicted, and may overlap.

    Args:
        text: Any.
        entities: In any order.
        meta: What else is known of the text, by name, as it was read: ``"id"``, its source, hashes. JSON values.
    """

    text: str
    entities: tuple[Entity, ...] = field(default=())
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> Any:
        """What the text is known by; None if nothing is said."""
        return self.meta.get("id")

    def labels(self) -> set[str]:
        """Names of the entity types that occur."""
        return {entity.label for entity in self.entities}

    def part(self, start: int, end: int) -> Example:
        """The text from ``start`` to ``end`` (exclusive) with the entities that lie wholly within."""
        inside = (e for e in self.entities if start <= e.start and e.end <= end)
        moved = tuple(replace(e, start=e.start - start, end=e.end - start) for e in inside)
        return Example(self.text[start:end], moved)
