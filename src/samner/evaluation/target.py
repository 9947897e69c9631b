"""A target's texts in memory, with the types that are asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from samner.data import read_examples, read_texts
from samner.entities import Entity, EntityType, Example
from samner.errors import SamnerError
from samner.evaluation.config import Target
from samner.scoring import scored_labels


@dataclass(frozen=True, slots=True)
class TargetTexts:
    """What is read of a target.

    Args:
        name: Of the target.
        test: Texts with their true entities.
        unlabelled: Texts to adapt to.
        types: Those that occur in the test set and are scored, in alphabetical order.
    """

    name: str
    test: Sequence[Example]
    unlabelled: Sequence[str]
    types: tuple[EntityType, ...]

    @property
    def scored(self) -> list[list[Entity]]:
        """The true entities of every test text, of the types that are scored."""
        names = {entity_type.name for entity_type in self.types}
        return [[entity for entity in example.entities if entity.label in names] for example in self.test]

    @property
    def checksum(self) -> str:
        """SHA-256 of all texts and entities, whatever format they were read from."""
        gold = [[example.text, sorted(entity.key for entity in example.entities)] for example in self.test]
        return hashlib.sha256(json.dumps([gold, list(self.unlabelled)]).encode()).hexdigest()


def read_target(target: Target) -> TargetTexts:
    """Read a target's files.

    Raises:
        DataError: If a file is not as its format wants it.
        SamnerError: If nothing that is scored is labelled in the test set.
    """
    test = read_examples(target.test)
    labels = sorted({label for example in test for label in example.labels()})
    if not labels:
        raise SamnerError(f"{target.test}: no text has an entity, so there is nothing to score")
    try:
        types = scored_labels(labels)
    except SamnerError as error:
        raise SamnerError(f"{target.test}: {error}") from error
    return TargetTexts(target.name, test, read_texts(target.unlabeled), types)
