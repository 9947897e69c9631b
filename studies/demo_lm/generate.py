"""Write the demonstration language model's texts: six domains, two targets, and the base's own fields.

    python -m studies.demo_lm.generate --out runs/demo_lm/data

What the texts say is in fields.yaml, how names are made in names.yaml. A name belongs to train, dev or test by its own
hash, whatever the seed, and the splits' clauses differ: no name and no clause of dev or test is ever trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from samner.cli.output import guarded
from samner.data import write_examples
from samner.entities import Entity, Example

HERE = Path(__file__).parent
SPLITS = {"train": 10000, "dev": 100, "test": 200}
"""Texts of a domain's splits."""
UNLABELLED = 300
"""Texts of a target to adapt to; its test split is as large as a domain's."""

MOST_WORDS = 25
"""In a text."""

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_JOINTS = (". ", "; ", ", and ", ", but ", " while ")
_SECOND = 0.4
"""Share of the texts that have a second clause."""
_COMMON = 0.25
"""Share of a domain's clauses for training that are said of anything."""


@dataclass(frozen=True)
class Field:
    """What can be said about one thing.

    Args:
        name: Of the domain, target or field.
        types: Of its entities.
        clauses: By split.
        common: Clauses for training that are said of anything.
        others: Types of the names in them that are no answer.
        experts: For a target, the domains whose types it mixes.
    """

    name: str
    types: tuple[str, ...]
    clauses: Mapping[str, Sequence[str]]
    common: Sequence[str] = ()
    others: Sequence[str] = ()
    experts: tuple[str, ...] = ()


class Names:
    """Names of every type, each in one split only."""

    def __init__(self, path: Path = HERE / "names.yaml") -> None:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        self._parts: dict[str, list[str]] = values["parts"]
        self._patterns: dict[str, list[str]] = values["names"]

    def draw(self, kind: str, split: str, rng: random.Random) -> str:
        """A name of a type that belongs to a split."""
        while True:
            pattern = _choose(rng.choice(self._patterns[kind]), rng)
            name = _SLOT.sub(lambda slot: rng.choice(self._parts[slot[1]]), pattern)
            if split_of(name) == split:
                return name


def split_of(name: str) -> str:
    """The split a name belongs to: of ten, seven are for training, one for dev and two for test."""
    digit = hashlib.sha256(name.encode()).digest()[0] % 10
    return "dev" if digit == 0 else "test" if digit < 3 else "train"


def read_fields(part: str, path: Path = HERE / "fields.yaml") -> dict[str, Field]:
    """The fields of a part of the file (``domains``, ``targets`` or ``base``) by name."""
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    nobodys = [name for field in values["base"].values() for name in field["types"]]
    return {
        name: Field(
            name,
            tuple(v["types"]),
            {split: v[split] for split in SPLITS if split in v},
            values["common"],
            [other for other in nobodys if other not in v["types"]],
            tuple(v.get("experts", ())),
        )
        for name, v in values[part].items()
    }


def read_foreign(path: Path = HERE / "fields.yaml") -> list[str]:
    """Types of no field at all."""
    foreign: list[str] = yaml.safe_load(path.read_text(encoding="utf-8"))["foreign"]
    return foreign


def texts(
    field: Field,
    split: str,
    names: Names,
    rng: random.Random,
    *,
    common: float = _COMMON,
    kinds: Sequence[str] = (),
) -> Iterator[Example]:
    """Distinct short texts of a split, without end: one clause or two, and where the names in them are.

    Args:
        field: What they are about.
        split: Whose clauses and names they are made of.
        names: To fill in.
        rng: Of everything random.
        common: Share of the clauses for training that are said of anything.
        kinds: Types of names to fill in whatever a clause asks for; by default those that it asks for.
    """
    seen: set[str] = set()
    while True:
        count = 2 if rng.random() < _SECOND else 1
        many = sum(split == "train" and rng.random() < common for _ in range(count))
        clauses = rng.sample(field.clauses[split], count - many) + rng.sample(field.common, many)
        parts = [_choose(clause, rng) for clause in rng.sample(clauses, count)]
        example = _fill(rng.choice(_JOINTS).join(parts), field, split, names, rng, kinds)
        if example.text not in seen and len(example.text.split()) <= MOST_WORDS:
            seen.add(example.text)
            yield example


def labelled(example: Example, types: Collection[str]) -> Example:
    """A text with its entities of some types only."""
    return Example(example.text, tuple(entity for entity in example.entities if entity.label in types))


def _choose(pattern: str, rng: random.Random) -> str:
    return _CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), pattern)


def _fill(pattern: str, field: Field, split: str, names: Names, rng: random.Random, kinds: Sequence[str]) -> Example:
    """A pattern with names in its slots, no name twice, sentences in capitals and with a full stop."""
    text, entities, used = "", [], set()
    for i, part in enumerate(_SLOT.split(pattern)):
        if i % 2 == 0:
            part = re.sub(r"\. ([a-z])", lambda match: f". {match[1].upper()}", part)
            text += part[:1].upper() + part[1:] if not text or text.endswith(". ") else part
            continue
        kind = rng.choice(kinds or {"any": field.types, "other": field.others}.get(part, (part,)))
        name = names.draw(kind, split, rng)
        while name in used:
            name = names.draw(kind, split, rng)
        used.add(name)
        entities.append(Entity(len(text), len(text) + len(name), kind))
        text += name
    return Example(text + ".", tuple(entities))


def write(out: Path, seed: int = 0) -> None:
    """Write ``<domain>/{train,dev,test}.jsonl`` and ``<target>/{unlabeled,test}.jsonl`` below a folder."""
    names = Names()
    for field in read_fields("domains").values():
        for split, count in SPLITS.items():
            stream = texts(field, split, names, _rng(field.name, split, seed))
            examples = [labelled(next(stream), field.types) for _ in range(count)]
            write_examples(examples, out / field.name / f"{split}.jsonl")
    for field in read_fields("targets").values():
        stream = texts(field, "test", names, _rng(field.name, "test", seed))
        examples = [next(stream) for _ in range(UNLABELLED + SPLITS["test"])]
        write_examples([Example(e.text) for e in examples[:UNLABELLED]], out / field.name / "unlabeled.jsonl")
        write_examples(examples[UNLABELLED:], out / field.name / "test.jsonl")


def _rng(*what: object) -> random.Random:
    return random.Random("/".join(map(str, what)))  # seeded by a string, it is the same everywhere


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
