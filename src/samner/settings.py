"""Settings as pydantic models, from YAML, JSON or Python, and what is wrong with them named by place and field."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from samner.display import brief, cut, reason
from samner.errors import SamnerError

_MOST_BYTES = 500_000
_MOST_BITS = 1024


class Settings(BaseModel):
    """Settings that cannot be changed once made, of which unknown ones are refused and none is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _known_format(number: object) -> object:
    if type(number) is not int or number != 1:
        raise ValueError(f"this samner reads format 1, not {brief(number)}; a newer one may have written it")
    return number


Format = Annotated[Literal[1], BeforeValidator(_known_format)]
"""The format number of a file that samner writes."""

_Settings = TypeVar("_Settings", bound=BaseModel)


def validated(kind: type[_Settings], values: Mapping[str, Any], place: str = "") -> _Settings:
    """Settings from plain values.

    Args:
        kind: The model that says what they must be.
        values: As a YAML or JSON file or a caller gives them.
        place: What messages begin with: the file, or the argument.

    Raises:
        SamnerError: If a value is missing, unknown or not as it must be; it names the first such field.
    """
    try:
        # strict as JSON is: a list will do for a tuple and a string for a path, but true is no number
        return kind.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise SamnerError(": ".join(part for part in (place, _first(error, kind)) if part)) from error


def read_yaml_settings(path: Path, kind: type[_Settings]) -> _Settings:
    """Settings from a YAML file that holds a mapping.

    Raises:
        SamnerError: If the file cannot be read, is not YAML or not a mapping, or as ``validated`` does.
    """
    return validated(kind, _mapping(path), str(path))


_CHOICE = re.compile(r"bool|int|float|str|dict\[.*")


def _first(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first problem in one line: field, what is wrong, what was given."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    place = problem["loc"][:-1]
    below = [p["loc"][len(place) :] for p in problems if p["loc"][: len(place)] == place]
    choices = list(dict.fromkeys(str(part) for part, *_ in filter(None, below)))
    if len(choices) > 1 and all(map(_CHOICE.fullmatch, choices)):  # each type of a union is told as if it were a field
        field = ".".join(map(str, place))
        return f"{field}: input should be one of {', '.join(choices)}, not {brief(problem.get('input'))}"
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(info.alias or name for name, info in kind.model_fields.items())
        return f"{field}: unknown setting; known are {known}" if "." not in field else f"{field}: unknown setting"
    if problem["type"] == "missing":
        return f"{field}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, dict | list) or problem["type"] == "value_error" else f", not {brief(given)}"
    return f"{field}: {message[0].lower()}{message[1:]}{shown}" if field else message


def _mapping(path: Path) -> dict[str, Any]:
    """The mapping that a file holds."""
    values = _load(path)
    if not isinstance(values, dict):
        given = "nothing" if values is None else brief(values)
        raise SamnerError(f"{path}: must be a mapping of keys to values, not {given}")
    for key in values:
        if not isinstance(key, str):
            raise SamnerError(f"{path}: the key {brief(key)} must be a string; put it in quotes")
    return values


def _load(path: Path) -> object:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise SamnerError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        if len(content) <= _MOST_BYTES:
            raise SamnerError(f"{path}: is not UTF-8 text") from error
    if len(content) > _MOST_BYTES:
        raise SamnerError(f"{path}: is larger than {_MOST_BYTES:,} bytes, which no file of settings is")
    return _plain(text, str(path))


def plain_value(text: str, place: str) -> Any:
    """The value that some YAML stands for.

    Args:
        text: In YAML.
        place: What messages begin with.

    Raises:
        SamnerError: If it is not YAML.
    """
    return _plain(text, place)


def _plain(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a subclass of yaml's safe loader: it makes plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{place}:{mark.line + 1}" if mark else place
        raise SamnerError(f"{place}: not valid YAML ({cut(str(error.problem), 300)})") from error
    except yaml.YAMLError as error:
        raise SamnerError(f"{place}: not valid YAML ({reason(error)})") from error
    except RecursionError as error:
        raise SamnerError(f"{place}: is nested too deeply") from error
    except ValueError as error:  # of a date that there is not, or a number of too many digits
        raise SamnerError(f"{place}: not valid YAML ({error})") from error


class _Loader(yaml.SafeLoader):
    """Plain YAML: a key only once, no anchors and aliases, and numbers as in YAML 1.2, where ``1e-3`` is one.

    Of a key given twice, YAML would silently keep the last; a few aliases of aliases are gigabytes once written out.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors (&) and aliases (*) are not read: write it out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if value.bit_length() > _MOST_BITS:  # written as hexadecimal or in 60s; Python could not show it
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {brief(key)} is given twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)
