"""The public surface as text: every public name with its signature, and every verb with its options.

``make surface`` writes it to ``public_surface.txt`` beside this file, with which a test compares what
is there: a change of it is to be meant, and to stand in CHANGELOG.md where a user would notice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = Path(__file__).with_suffix(".txt")
MODULES = (
    "samner",
    "samner.backbones",
    "samner.calibration",
    "samner.data",
    "samner.distillation",
    "samner.entities",
    "samner.errors",
    "samner.export",
    "samner.integrations.label_studio",
    "samner.integrations.presidio",
    "samner.integrations.ray",
    "samner.integrations.spacy",
    "samner.merging",
    "samner.mistakes",
    "samner.pool",
    "samner.recogniser",
    "samner.runtime",
    "samner.scoring",
    "samner.selection",
    "samner.training",
)


def surface() -> str:
    """All of it, a line a name; what is public in two places is described in the first."""
    first: dict[int, str] = {}
    lines = [line for module in MODULES for line in _module(import_module(module), first)]
    return "\n".join([*lines, *_verbs()]) + "\n"


def public_names(module: ModuleType) -> list[str]:
    """The names in ``__all__``, or else those that are defined there and do not begin with an underscore."""
    own = [n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", None) == module.__name__]
    return sorted(getattr(module, "__all__", own))


def _module(module: ModuleType, first: dict[int, str]) -> Iterator[str]:
    for public in public_names(module):
        name, value = f"{module.__name__}.{public}", getattr(module, public)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            yield f"{name} = {', '.join(value) if isinstance(value, Mapping) else repr(value)}"
        elif id(value) in first:
            yield f"{name} is {first[id(value)]}"
        else:
            first[id(value)] = name
            yield from _class(name, value) if inspect.isclass(value) else [f"{name}{_signature(value)}"]


def _class(name: str, value: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield f"class {name}({bases})"
    if "__init__" in vars(value) and not issubclass(value, Exception):
        yield f"{name}{_signature(value)}"
    for member, kind in sorted({**dict.fromkeys(inspect.get_annotations(value)), **vars(value)}.items()):
        if member.startswith("_"):
            continue
        if isinstance(kind, property) or type(kind).__name__ == "cached_property":
            getter = kind.fget if isinstance(kind, property) else kind.func  # type: ignore[union-attr]
            yield f"{name}.{member}: {_annotation(inspect.signature(getter).return_annotation)}"  # type: ignore[arg-type]
        elif inspect.isroutine(kind) or isinstance(kind, classmethod | staticmethod):
            yield f"{name}.{member}{_signature(getattr(value, member))}"
        elif member in inspect.get_annotations(value) and "__init__" not in vars(value):
            yield f"{name}.{member}: {_annotation(inspect.get_annotations(value)[member])}"


def _signature(value: Any) -> str:
    signature = inspect.signature(value)
    parameters = [
        p.replace(annotation=_bare(p.annotation), default=_Shown(p.default)) for p in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=_bare(signature.return_annotation)))


class _Shown:
    """A default as it is to be read: without addresses and paths of this machine."""

    def __new__(cls, value: Any) -> Any:
        return value if value is inspect.Parameter.empty else super().__new__(cls)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "..." if re.search(r" at 0x|<factory>", repr(self.value)) else repr(self.value)


def _bare(annotation: Any) -> Any:
    return annotation if annotation is inspect.Parameter.empty else _Name(_annotation(annotation))


class _Name(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _verbs() -> Iterator[str]:
    from samner.cli.app import VERBS, verb

    for name in VERBS:
        yield from _verb(f"samner {name}", verb(name))


def _verb(name: str, command: Any) -> Iterator[str]:
    for sub, inner in getattr(command, "commands", {}).items():
        yield from _verb(f"{name} {sub}", inner)
    if hasattr(command, "commands"):
        return
    for parameter in command.params:
        shown = "/".join(parameter.opts) if parameter.opts[0].startswith("-") else parameter.metavar
        flag = getattr(parameter, "is_flag", False) or parameter.opts[0][0] != "-"
        yield f"$ {name} {shown}{'' if flag else f' {parameter.metavar}'}{' (required)' if parameter.required else ''}"


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
