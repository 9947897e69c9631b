"""Look at the questions that a language model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.output import console, table, write_json

if TYPE_CHECKING:
    from samner.backbones.base import Prompt

_TEXT = "Ada Lovelace was born in London."
_TYPES = {"person": "", "city": "a town of some size"}
_MENTIONS = [("Ada Lovelace", "person"), ("London", "city")]


def list_(json: options.Json = False) -> None:
    """List the prompts that ship with samner."""
    from samner.backbones.families import families, family

    prompts = [kind.read_prompt(name) for kind in map(family, families()) for name in kind.prompts()]
    if json:
        write_json([_plain(prompt) for prompt in prompts])
        return
    rows = [[prompt.name, prompt.version, prompt.format, prompt.description] for prompt in prompts]
    console().print(table(["prompt", "version", "answer", "description"], rows, right=("version",)))


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the prompt, or a YAML file of your own.")],
    json: options.Json = False,
) -> None:
    """Show a prompt, and what is asked and answered about a sentence.

    Example: samner prompts show json-by-type
    """
    from samner.backbones.families import families, family, family_over_models
    from samner.entities import entity_types

    kinds = [kind for kind in map(family, families()) if name in kind.prompts()]
    prompt = (kinds[0] if kinds else family_over_models()).read_prompt(name)
    if json:
        write_json(_plain(prompt))
        return
    types = entity_types(_TYPES)
    to = console()
    to.print(f"{prompt.name}, version {prompt.version}: {prompt.description}")
    to.print(f"\nSystem:\n{prompt.system.strip()}\n\nQuestion:\n{prompt.question.strip()}")
    for question, answer in zip(prompt.questions(_TEXT, types), prompt.answer(_MENTIONS, types), strict=True):
        to.print(f"\nFor example:\n{question}\n{answer}")


def _plain(prompt: Prompt) -> dict[str, object]:
    return {key: getattr(prompt, key) for key in ("name", "version", "description", "format", "system", "question")}


VERBS = {"list": list_, "show": show}
