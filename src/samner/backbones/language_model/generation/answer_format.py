"""What an answer may look like, as a grammar, and decoding that keeps to it."""

from __future__ import annotations

import json
import logging
import re
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

    def gbnf(self) -> str:
        """The same grammar in llama.cpp's form."""
        members = _gbnf(", ").join(f" {_gbnf(_json(label) + ': ')} strings " for label in self.labels)
        labels = " | ".join(_gbnf(_json(label)) for label in self.labels)
        strings = f"strings ::= {_gbnf('[')} ( string ( {_gbnf(', ')} string )* )? {_gbnf(']')}"
        rules = {
            "object": [f"answer ::= {_gbnf('{')} {members} {_gbnf('}')}", strings],
            "pairs": [
                f"answer ::= {_gbnf('[')} ( pair ( {_gbnf(', ')} pair )* )? {_gbnf(']')}",
                f"pair ::= {_gbnf('[')} string {_gbnf(', ')} ( {labels} ) {_gbnf(']')}",
            ],
            "list": ["answer ::= strings", strings],
        }[self.format]
        # a run of pieces begins with any and goes on with the next ones, one rule a piece
        chunks = [_json(piece)[1:-1] for piece in pieces(self.text, LONGEST)]
        runs: list[str] = []
        firsts: list[str] = []
        following = ""
        for i, chunk in reversed(list(enumerate(chunks))):
            ends_in_blank = chunk.endswith(" ")
            if ends_in_blank and not following:
                continue  # nothing is behind it that a run could end with
            rest = following if ends_in_blank or not following else f"( {following} )?"
            following = f"p{i}"
            runs.append(f"{following} ::= {_gbnf(chunk)} {rest}".rstrip())
            if not chunk.startswith(" "):
                firsts.append(following)
        # where there is no word, the empty string, which is no entity
        run = " | ".join(reversed(firsts)) or _gbnf("")
        string = f"string ::= {_gbnf(_QUOTE)} ( {run} ) {_gbnf(_QUOTE)}"
        return "\n".join([f"root ::= {_gbnf(' ')}? answer", *rules, string, *reversed(runs)])

    def nothing(self) -> dict[str, list[str]] | list[str]:
        """The answer that there is no entity, which is to be written as JSON."""
        return {label: [] for label in self.labels} if self.format == "object" else []

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


_QUOTE = '"'


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _literal(text: str) -> str:
    """A string of Lark: as in JSON, but that DEL is to be escaped."""
    return _json(text).replace("\x7f", r"\u007f")


def _gbnf(text: str) -> str:
    """A string of llama.cpp's grammars, which know other escapes than JSON."""
    escaped = _ESCAPED.sub(lambda found: rf"\x{ord(found[0]):02X}", text)
    return f'"{escaped}"'


_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')


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

    def matchers(self, constraints: Sequence[Constraint | None]) -> list[Matcher]:
        """What keeps answers to their constraints, for each its own.

        Raises:
            ModelError: If llguidance is not installed or cannot read the tokenizer.
        """
        if not any(constraints):
            return [Matcher(None) for _ in constraints]
        if self._read is None:
            self._read = self._for_llguidance()
        from llguidance import LLMatcher

        distinct = [c for c in dict.fromkeys(constraints) if c is not None]
        made = {c: LLMatcher(self._read, self._as_text(c.lark()), log_level=0) for c in distinct}
        return [Matcher(None if c is None else made[c].deep_copy()) for c in constraints]

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


class Matcher:
    """The state of an answer in its grammar.

    Args:
        matcher: Of llguidance; none for an answer without constraint.
    """

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def consume(self, token: int) -> None:
        """Tell which token was chosen."""
        if self._matcher and (self._matcher.is_stopped() or not self._matcher.consume_token(token)):
            self._drop()

    def forced(self) -> list[int]:
        """The tokens that must come next, whatever the model would say; they are taken for given then."""
        following: list[int] = self._matcher.compute_ff_tokens() if self._matcher else []
        if following and not self._matcher.consume_tokens(following):
            self._drop()
        return following

    def take_back(self, count: int) -> None:
        """Forget the last tokens."""
        if self._matcher:
            self._matcher.rollback(count)

    def allowed(self, vocabulary: int) -> Tensor | None:
        """Of a vocabulary, whether a token may come next; none if any may."""
        import torch

        if not self._matcher:
            return None
        mask = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.int32)
        if self._matcher.is_error():
            self._drop()
            return None
        bits = torch.arange(32, dtype=torch.int32)
        return (mask[:, None] >> bits & 1).flatten()[:vocabulary].bool()

    def _drop(self) -> None:
        """Let the answer go on without constraint: it has ended, or its grammar is beyond llguidance's limits."""
        if self._matcher.is_error():
            log.warning("an answer goes on unconstrained: %s", self._matcher.get_error())
        self._matcher = None
