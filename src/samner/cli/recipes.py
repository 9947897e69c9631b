"""A training recipe: the arguments of ``samner train`` in a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from samner.cli.training import parse_options
from samner.errors import SamnerError
from samner.settings import Section, read_yaml

_KEYS = ("model", "prompt", "architecture", "pool", "data", "dev", "name", "out", "description", "licence", "options")


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """What a recipe says; what it leaves out, the command line or a default says.

    Args:
        path: Of the file.
        model: Hub id or folder of the language model that the recipe is for.
        prompt: How that is asked: a shipped prompt's name or a YAML file.
        architecture: Configuration of that model, for a dry run.
        pool: ``"builtin"``, a folder or a hub id.
        data: Labelled texts.
        dev: A file for each of them.
        name: Of the expert.
        out: Folder to write.
        description: One line for the card.
        licence: As ``--licence``.
        options: As ``--option``, by key.
    """

    path: Path | None = None
    model: str | None = None
    prompt: str = "json-by-type"
    architecture: Mapping[str, Any] | None = None
    pool: str | None = None
    data: tuple[Path, ...] = ()
    dev: tuple[Path, ...] = ()
    name: str | None = None
    out: Path | None = None
    description: str = ""
    licence: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What to train on, from the command line or else from a recipe.

    Args:
        data: Labelled texts.
        dev: A file for each of them, or none.
        pool: ``"builtin"``, a folder or a hub id.
        licence: As ``--licence``.
        options: As ``--option``; of the command line only.
    """

    data: tuple[Path, ...]
    dev: tuple[Path, ...]
    pool: str
    licence: tuple[str, ...]
    options: tuple[str, ...]

    def settings(self, recipe: RecipeFile, known: Mapping[str, Any]) -> dict[str, Any]:
        """The training options: the recipe's, and over them those of the command line.

        Raises:
            SamnerError: If one is unknown or of the wrong kind.
        """
        return recipe_options(recipe, known) | parse_options(self.options, known)


def read_recipe(path: Path) -> RecipeFile:
    """Read and check a recipe; paths in it are relative to its folder.

    Raises:
        SamnerError: If it cannot be read, holds an unknown key or a value that will not do; file, line and key are
            named. Whether the family of the pool's base knows the options is for ``recipe_options``.
    """
    section = read_yaml(path)
    if unknown := next((key for key in section.values if key not in _KEYS), None):
        raise SamnerError(f"{_place(path, unknown)}: unknown key {unknown!r}; known are {', '.join(_KEYS)}")
    pool, prompt, out = (_text(section, key) for key in ("pool", "prompt", "out"))
    return RecipeFile(
        path=path,
        model=_text(section, "model"),
        prompt=_beside(path, prompt) if prompt else "json-by-type",
        architecture=section.section("architecture").values or None,
        pool=_beside(path, pool) if pool else None,
        data=tuple(path.parent / name for name in _list(section, "data")),
        dev=tuple(path.parent / name for name in _list(section, "dev")),
        name=_text(section, "name"),
        out=path.parent / out if out else None,
        description=_text(section, "description") or "",
        licence=tuple(_list(section, "licence")),
        options=section.section("options").values,
    )


def recipe_options(recipe: RecipeFile, known: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's options, each of the kind that its default has.

    Args:
        recipe: The recipe.
        known: The options there are for the family of the pool's base, with their defaults.

    Raises:
        SamnerError: If there is one that the family does not know or of the wrong kind; file and line are named.
    """
    options: dict[str, Any] = {}
    for key, value in recipe.options.items():
        try:
            options |= parse_options([f"{key}={'none' if value is None else value}"], known)
        except SamnerError as error:
            place = f"{_place(recipe.path, 'options', key)}: " if recipe.path else ""
            raise SamnerError(f"{place}{error}") from error
    return options


def _text(section: Section, key: str) -> str | None:
    return section.text(key) if key in section.values else None


def _list(section: Section, key: str) -> tuple[str, ...]:
    if isinstance(section.values.get(key), str):
        return (section.text(key),)
    return section.names(key)


def _beside(path: Path, name: str) -> str:
    """A file or folder beside the recipe if there is one of that name, else the name as it is."""
    return str(path.parent / name) if (path.parent / name).exists() else name


def _place(path: Path, *keys: str) -> str:
    """``file:line`` of a key."""
    node: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = 1
    for key in keys:
        line, node = next((k.start_mark.line + 1, value) for k, value in node.value if k.value == key)
    return f"{path}:{line}"
