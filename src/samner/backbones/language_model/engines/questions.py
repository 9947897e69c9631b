"""Questions to a language model and its answers; who answers them is an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from samner.backbones.language_model.generation.answer_format import Constraint


class Question(NamedTuple):
    """What is asked of whom.

    Args:
        model: Name of an expert or task model, or ``BASE``.
        text: The user's turn, as ``Prompt.questions`` makes it.
        constraint: What the answer must look like; none for any text.
    """

    model: str
    text: str
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model wrote.

    Args:
        text: The answer, without the token that ends it.
        token_texts: What each token added to the text: together they are the text. A token that ends amid a character
            adds nothing, the one that completes it adds the character.
        logprobs: The natural logarithm of each token's probability, before any constraint.
    """

    text: str
    token_texts: tuple[str, ...]
    logprobs: tuple[float, ...]


class Engine(Protocol):
    """Answers questions to any of several models: in this process, or through a server."""

    def answer(self, questions: Sequence[Question]) -> list[Generated]:
        """The answers, in the order of the questions; batching and concurrency are the engine's business.

        Raises:
            ModelError: If one cannot be answered.
        """
