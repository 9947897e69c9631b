"""What an answer may look like, as a grammar, and decoding that keeps to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samner.backbones.language_model.special_tokens import special_names
from samner.entities import EntityType
from samner.errors import ModelError
from samner.words import LONGEST, pieces

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form an answer must have: JSON of one of the forms of a ``Prompt``, with strings that occur in the text.

    Args:
        format: of the answer, see ``Prompt``.
        labels: Names of the entity types asked for, in the order of the question.
        text: Of which every entity must be a run of whole words.
    """

    format: str
    labels: tuple[str, ...]
    text: str

    @classmethod
    def of(cls, prompt_format: str, types: Sequence[EntityType], text: str) -> Constraint:
        """The constraint on the answer to a question about a text."""
        return cls(prompt_format, tuple(t.name for t in types), text)

    def lark(self) -> str:
        """The grammar in llguidance's variant of Lark, spaced as ``json.dumps`` does by default."""
        strings = 'strings: "[" (STRING (", " STRING)*)? "]"'
        members = ' ", " '.join(f"{_literal(_json(label) + ': ')} strings" for label in self.labels)
        labels = " | ".join(_literal(_json(label)) for label in self.labels)
        rules = {
            "object": [f'answer: "{{" {members} "}}"', strings],
            "pairs": ['answer: "[" (pair (", " pair)*)? "]"', 'pair: "[" STRING ", " label "]"', f"label: {labels}"],
            "list": ["answer: strings", strings],
        }[self.format]
        chunks = json.dumps({"substring_chunks": [_json(piece)[1:-1] for piece in pieces(self.text, LONGEST)]})
        # tokenizers of the SentencePiece kind write a blank before the first word
        start = 'start: " "? answer'
        string = [r'STRING: "\"" WORDS "\""', "WORDS: RUN & /[^ ](.*[^ ])?/", f"RUN: %regex {chunks}"]
        return "\n".join([start, *rules, *string])

    def schema(self) -> dict[str, Any]:
        """The form as a JSON schema, which cannot say that a string must occur in the text."""
        strings = {"type": "array", "items": {"type": "string"}}
        if self.format == "object":
            properties = dict.fromkeys(self.labels, strings)
            required = list(self.labels)
            return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        if self.format == "list":
            return strings
        pair = {"type": "array", "prefixItems": [{"type": "string"}, {"enum": list(self.labels)}], "items": False}
        return {"type": "array", "items": {**pair, "minItems": 2, "maxItems": 2}}


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _literal(text: str) -> str:
    """A string of Lark: as in JSON, but that DEL is to be escaped."""
    return _json(text).replace("\x7f", r"\u007f")


class Grammars:
    """Makes matchers of constraints for one tokenizer.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        vocabulary: How many tokens the model's logits are of.
        ends: Ids of the tokens that end an answer.

    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = list(ends)
        self._read: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_read": None}  # llguidance's own cannot be pickled, and is made again

    def matchers(self, constraints: Sequence[Constraint | None]) -> Matchers:
        """What keeps a batch of answers to their constraints.

        Raises:
            ModelError: If llguidance is not installed or cannot read the tokenizer.
        """
        if self._read is None:
            self._read = self._for_llguidance()
        from llguidance import LLMatcher

        distinct = [c for c in dict.fromkeys(constraints) if c is not None]
        made = {c: LLMatcher(self._read, self._as_text(c.lark()), log_level=0) for c in distinct}
        return Matchers([None if c is None else made[c].deep_copy() for c in constraints])

    def _as_text(self, lark: str) -> str:
        """A grammar in which no type has the name of a special token: llguidance would force the token itself.

        The first character of such a name is written as JSON escapes it.
        """
        special = special_names(self._tokenizer)
        return special.sub(lambda name: rf"\\u{ord(name[0][0]):04x}{name[0][1:]}", lark) if special else lark

    def _for_llguidance(self) -> Any:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise ModelError("constrained decoding needs llguidance: pip install 'samner[llm]'") from error
        try:
            return from_tokenizer(self._tokenizer, max(self._vocabulary, len(self._tokenizer)), self._ends)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"llguidance cannot read the tokenizer ({error}); set constrained to false") from error


class Matchers:
    """The state of a batch of answers in their grammars.

    Args:
        matchers: A matcher of llguidance for each row, none for a row without constraint.
    """

    def __init__(self, matchers: Sequence[Any]) -> None:
        self._matchers = list(matchers)

    def consume(self, tokens: Sequence[int]) -> None:
        """Tell which token each row was given."""
        for row, (matcher, token) in enumerate(zip(self._matchers, tokens, strict=True)):
            if matcher is not None and (matcher.is_stopped() or not matcher.consume_token(token)):
                self._drop(row)

    def forced(self) -> list[list[int]]:
        """The tokens that must come next in each row, whatever the model would say; each row is given them."""
        following = [[] if matcher is None else matcher.compute_ff_tokens() for matcher in self._matchers]
        for row, (matcher, tokens) in enumerate(zip(self._matchers, following, strict=True)):
            if tokens and not matcher.consume_tokens(tokens):
                self._drop(row)
        return following

    def take_back(self, row: int, count: int) -> None:
        """Forget the last tokens of a row."""
        if self._matchers[row] is not None:
            self._matchers[row].rollback(count)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._matchers = [self._matchers[row] for row in rows]

    def allowed(self, vocabulary: int) -> Tensor | None:
        """Rows x vocabulary, whether a token may come next; none if any may anywhere."""
        import torch

        if not any(matcher is not None for matcher in self._matchers):
            return None
        words = (vocabulary + 31) // 32
        masks = torch.full((len(self._matchers), words), -1, dtype=torch.int32)
        for row, matcher in enumerate(self._matchers):
            if matcher is not None:
                mask = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.int32)
                if matcher.is_error():
                    self._drop(row)
                else:
                    masks[row] = mask[:words]
        bits = torch.arange(32, dtype=torch.int32)
        return (masks[:, :, None] >> bits & 1).flatten(1)[:, :vocabulary].bool()

    def _drop(self, row: int) -> None:
        """Let a row go on without constraint: it has ended, or its grammar is beyond llguidance's limits."""
        if self._matchers[row].is_error():
            log.warning("an answer goes on unconstrained: %s", self._matchers[row].get_error())
        self._matchers[row] = None
