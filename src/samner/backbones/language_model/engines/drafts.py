"""What an answer may turn out to be, read at a guess: where the model itself says the same, many tokens take one pass.

A draft decides nothing: a token of it stands where it is the one that the model would have chosen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from samner.backbones.language_model.generation.answer_format import Constraint
from samner.backbones.language_model.generation.ask import Question

_FOUND = 2
"""So many tokens that the grammar forced tell the place in a draft at which an answer goes on as it does."""


class Draft:
    """A guess at an answer, and how far the answer has come in it.

    Args:
        tokens: That the answer may turn out to be; none for no guess.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens = list(tokens)
        self._at: int | None = 0

    def coming(self, most: int) -> list[int]:
        """What may come next."""
        return [] if self._at is None else self._tokens[self._at : self._at + max(0, most)]

    def follow(self, token: int, forced: Sequence[int]) -> None:
        """See how the answer goes on.

        An answer that left its draft is in it again where the grammar forces what the draft has somewhere: the name of
        the next type.

        Args:
            token: The next one.
            forced: What the grammar forces behind it.
        """
        following = [token, *forced]
        if self._at is not None and self._tokens[self._at : self._at + len(following)] == following:
            self._at += len(following)
        else:
            self._at = self._behind(list(forced)) if len(forced) >= _FOUND else None

    def _behind(self, tokens: list[int]) -> int | None:
        ends = range(len(tokens), len(self._tokens) + 1)
        return next((end for end in ends if self._tokens[end - len(tokens) : end] == tokens), None)


class Drafts:
    """Guesses at the answers to questions: what another model answered, else that there is no entity.

    Args:
        tokenizer: Of the models.
        end: The token that ends an answer.
    """

    def __init__(self, tokenizer: Any, end: int) -> None:
        self._tokenizer = tokenizer
        self._end = end
        self._said: dict[tuple[str, Constraint | None], list[int]] = {}

    def add(self, question: Question, tokens: list[int]) -> None:
        """Note an answer."""
        self._said[question[1:]] = tokens

    def of(self, question: Question) -> Draft:
        """What the answer to a question may be."""
        if question[1:] in self._said or question.constraint is None:
            return Draft(self._said.get(question[1:], ()))
        nothing = json.dumps(question.constraint.nothing(), ensure_ascii=False)
        return Draft([*self._tokenizer(nothing, add_special_tokens=False)["input_ids"], self._end])


def turns(questions: Sequence[Question], waits: Callable[[str], bool]) -> list[list[int]]:
    """Numbers of the questions by when they are asked, so that an answer is there for a draft.

    Args:
        questions: To several models.
        waits: Whether a model is asked what another has been asked only after it, if that waits as well.
    """
    parts: list[list[int]] = []
    asked: Counter[tuple[str, Constraint | None]] = Counter()
    for i, question in enumerate(questions):
        turn = 0
        if waits(question.model):
            turn = asked[question[1:]]
            asked[question[1:]] += 1
        if turn == len(parts):
            parts.append([])
        parts[turn].append(i)
    return parts
