"""Prompts: how a language model is asked for entities, and how it is to answer. Templates are YAML files, not code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from samner.backbones.language_model.special_tokens import for_texts, special_names
from samner.entities import EntityType
from samner.errors import SamnerError
from samner.files import user_path
from samner.settings import Settings, read_yaml_settings
from samner.words import sound

DEFAULT_PROMPT = "json-by-type"
_SHIPPED = Path(__file__).parent / "prompts"
_MARK = "\ufdd0"  # no character, and free for use within a program
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Prompt(Settings):
    """A template of questions to a language model.

    Attributes:
        name: Letters, digits, ``.``, ``-`` and ``_``.
        version: Counted from 1; raised whenever a change may change an answer.
        description: One line, for people.
        format: Of the answer: ``{"person": ["Ada"], "date": []}`` (``"object"``), ``[["Ada", "person"]]``
            (``"pairs"``), or ``["Ada"]`` (``"list"``), where each type is asked for by a question of its own.
        system: What a model is told before the first question; may be blank.
        question: The user's turn. Holds once ``{types}`` (with ``"list"``: ``{type}``) and after it once ``{text}``,
            so that questions for the same types share a beginning. Other braces stand for themselves.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: int = Field(ge=1)
    description: str
    format: Literal["object", "pairs", "list"]
    system: str
    question: str

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        wanted = ["type" if self.per_type else "types", "text"]
        if _PLACEHOLDER.findall(self.question) != wanted:
            raise ValueError(f"question must hold {{{wanted[0]}}} once, then {{text}} once, and no other {{...}}")
        if found := _PLACEHOLDER.search(self.system):
            raise ValueError(f"system must hold no {found[0]}; placeholders belong in question")
        return self

    @property
    def per_type(self) -> bool:
        """Whether each type is asked for by a question of its own."""
        return self.format == "list"

    def questions(self, text: str, types: Sequence[EntityType]) -> list[str]:
        """The user's turn: one question for all types, or one per type in the order of the types."""
        if self.per_type:
            return [self._fill(type=_in_a_sentence(entity_type), text=text) for entity_type in types]
        return [self._fill(types="\n".join(f"- {entity_type.prompt}" for entity_type in types), text=text)]

    def plain(self, question: str) -> str:
        """What a model without a chat template reads; its answer follows in a new line."""
        return "\n".join(part for part in (self.system.strip(), question) if part) + "\n"

    def messages(self, question: str) -> list[dict[str, str]]:
        """The turns for a chat template; a blank system turn is left out."""
        turns = [("system", self.system.strip()), ("user", question)]
        return [{"role": role, "content": content} for role, content in turns if content]

    def answer(self, mentions: Sequence[tuple[str, str]], types: Sequence[EntityType]) -> list[str]:
        """The right answers, one per question.

        Args:
            mentions: String and label of each entity in the order of the text. Repeats are answered once; labels that
                are not asked for are left out.
            types: Asked for, in that order.
        """
        unique = list(dict.fromkeys(mentions))
        strings = {t.name: [string for string, label in unique if label == t.name] for t in types}
        values: list[Any]
        if self.format == "object":
            values = [strings]
        elif self.format == "pairs":
            values = [[[string, label] for string, label in unique if label in strings]]
        else:
            values = list(strings.values())
        return [json.dumps(value, ensure_ascii=False) for value in values]

    def _fill(self, **values: str) -> str:
        # in one pass, so that braces in a text or a type are not taken for placeholders
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.question.strip())


def _in_a_sentence(entity_type: EntityType) -> str:
    return f"{entity_type.name} ({entity_type.description})" if entity_type.description else entity_type.name


def prompt_names() -> list[str]:
    """Names of the prompts that ship with samner."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_prompt(reference: str | Path) -> Prompt:
    """A prompt that ships with samner, by name, or one from a YAML file.

    Raises:
        SamnerError: If there is no such name or file, or the file does not hold a prompt.
    """
    path = _SHIPPED / f"{reference}.yaml" if reference in prompt_names() else user_path(reference)
    if not path.is_file():
        raise SamnerError(f"no prompt {str(reference)!r}; give a YAML file, or one of {', '.join(prompt_names())}")
    return read_yaml_settings(path, Prompt)


def render(prompt: Prompt, question: str, tokenizer: Any) -> str:
    """The text of a question: by the tokenizer's chat template, or plain where it has none.

    Names of special tokens in it, but those that the prompt itself writes, are set between marks: they are text.
    """
    if special := special_names(tokenizer):
        own = prompt.system + prompt.question
        question = question.replace(_MARK, "\N{REPLACEMENT CHARACTER}")
        question = special.sub(lambda found: found[0] if found[0] in own else _MARK + found[0] + _MARK, question)
    if not tokenizer.chat_template:
        return prompt.plain(question)
    text: str = tokenizer.apply_chat_template(prompt.messages(question), tokenize=False, add_generation_prompt=True)
    return text


def unmarked(text: str) -> str:
    """A rendered question as it is written."""
    return text.replace(_MARK, "")


def prompt_ids(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Tokens of rendered questions, the same when they are learnt and when they are asked."""
    plain = not tokenizer.chat_template
    parts = [sound(text).split(_MARK) for text in texts]
    whole = ["" if others else first for first, *others in parts]
    result: list[list[int]] = tokenizer(whole, add_special_tokens=plain)["input_ids"] if whole else []
    for ids, its in zip(result, parts, strict=True):
        if plain and ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
        for number, part in enumerate(its if len(its) > 1 else []):  # each by itself, only where there is a mark
            read = for_texts(tokenizer, [part]) if number % 2 else tokenizer
            ids += read(part, add_special_tokens=False)["input_ids"]
    return result
