"""What a model finds in a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from samner.entities import Entity
from samner.marked_text import fragment


class Prediction(list[Entity]):
    """What a model finds in a text: a list of its entities, in order, that knows the text.

    A notebook shows it as the text with the entities marked.

    Args:
        text: The text.
        entities: What was found in it; each is given the characters it covers.

    Example:
        >>> from samner import Entity
        >>> Prediction("Aspirin relieves headache.", [Entity(0, 7, "drug", 0.9)])[0].text
        'Aspirin'
    """

    def __init__(self, text: str, entities: Iterable[Entity] = ()) -> None:
        super().__init__(replace(entity, text=text[entity.start : entity.end]) for entity in entities)
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return Prediction, (self.text, list(self))

    def _repr_html_(self) -> str:
        return fragment(self.text, self)
