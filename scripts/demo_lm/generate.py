"""Write the demonstration language model's texts: six domains, two targets, and the base's own fields.

    python -m scripts.demo_lm.generate --out runs/demo_lm/data

What the texts say is in fields.yaml, how names are made in names.yaml. A name belongs to train, dev or test by its own
hash, whatever the seed, and the splits' clauses differ: no name and no clause of dev or test is ever trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from samner.data import write_examples
from samner.types import Entity, Example

HERE = Path(__file__).parent
SPLITS = {"train": 6000, "dev": 100, "test": 200}
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


@dataclass(frozen=True)
class Field:
    """What can be said about one thing.

    Args:
        name: Of the domain, target or field.
        types: Of its entities.
        clauses: By split.
        experts: For a target, the domains whose types it mixes.
    """

    name: str
    types: tuple[str, ...]
    clauses: Mapping[str, Sequence[str]]
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
    values: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))[part]
    return {
        name: Field(
            name,
            tuple(v["types"]),
            {split: v[split] for split in SPLITS if split in v},
            tuple(v.get("experts", ())),
        )
        for name, v in values.items()
    }


def read_foreign(path: Path = HERE / "fields.yaml") -> list[str]:
    """Types of no field at all."""
    foreign: list[str] = yaml.safe_load(path.read_text(encoding="utf-8"))["foreign"]
    return foreign


def texts(field: Field, split: str, names: Names, rng: random.Random) -> Iterator[Example]:
    """Distinct short texts of a split, without end: one clause or two, and where the names in them are."""
    seen: set[str] = set()
    clauses = field.clauses[split]
    while True:
        count = 2 if rng.random() < _SECOND else 1
        parts = [_choose(clause, rng) for clause in rng.sample(clauses, count)]
        example = _fill(rng.choice(_JOINTS).join(parts), split, names, rng)
        if example.text not in seen and len(example.text.split()) <= MOST_WORDS:
            seen.add(example.text)
            yield example


def _choose(pattern: str, rng: random.Random) -> str:
    return _CHOICE.sub(lambda choice: rng.choice(choice[1].split("|")), pattern)


def _fill(pattern: str, split: str, names: Names, rng: random.Random) -> Example:
    """A pattern with names in its slots, no name twice, sentences in capitals and with a full stop."""
    text, entities, used = "", [], set()
    for i, part in enumerate(_SLOT.split(pattern)):
        if i % 2 == 0:
            part = re.sub(r"\. ([a-z])", lambda match: f". {match[1].upper()}", part)
            text += part[:1].upper() + part[1:] if not text or text.endswith(". ") else part
            continue
        name = names.draw(part, split, rng)
        while name in used:
            name = names.draw(part, split, rng)
        used.add(name)
        entities.append(Entity(len(text), len(text) + len(name), part))
        text += name
    return Example(text + ".", tuple(entities))


def write(out: Path, seed: int = 0) -> None:
    """Write ``<domain>/{train,dev,test}.jsonl`` and ``<target>/{unlabeled,test}.jsonl`` below a folder."""
    names = Names()
    for field in read_fields("domains").values():
        for split, count in SPLITS.items():
            stream = texts(field, split, names, _rng(field.name, split, seed))
            write_examples([next(stream) for _ in range(count)], out / field.name / f"{split}.jsonl")
    for field in read_fields("targets").values():
        stream = texts(field, "test", names, _rng(field.name, "test", seed))
        examples = [next(stream) for _ in range(UNLABELLED + SPLITS["test"])]
        write_examples([Example(e.text) for e in examples[:UNLABELLED]], out / field.name / "unlabeled.jsonl")
        write_examples(examples[UNLABELLED:], out / field.name / "test.jsonl")


def _rng(*what: object) -> random.Random:
    return random.Random("/".join(map(str, what)))  # seeded by a string, it is the same everywhere


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
