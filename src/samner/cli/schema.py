"""``samner schema``: what the files that samner reads may hold, for editors and other programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from samner.cli.output import write_json
from samner.errors import SamnerError


def _recipe() -> dict[str, Any]:
    """A recipe's, whose options are those of any family."""
    from samner.backbones.families import families, family
    from samner.training import ExpertRecipe

    schema = ExpertRecipe.model_json_schema()
    options = [{**family(name).recipe().model_json_schema(), "title": name} for name in families()]
    schema["properties"]["options"] |= {"anyOf": options, "additionalProperties": True}
    return schema


def _card(name: str) -> dict[str, Any]:
    from samner.pool import card

    schema: dict[str, Any] = getattr(card, name).model_json_schema()
    return schema


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "recipe": _recipe,
    "expert": lambda: _card("ExpertCard"),
    "pool": lambda: _card("PoolCard"),
}
"""Kind of file to what makes its JSON Schema; a model of settings has it as ``model_json_schema``."""


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"Of the file: {', '.join(KINDS)}.")],
) -> None:
    """Print the JSON Schema of a kind of file, which editors use to complete and check it.

    Example: samner schema recipe > recipe.schema.json
    """
    if kind not in KINDS:
        raise SamnerError(f"there is no schema of {kind!r}; known are {', '.join(KINDS)}")
    write_json(KINDS[kind]())
