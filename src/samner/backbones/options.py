"""What the training options of all families have in common: a frozen dataclass, changed by name and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from samner.errors import SamnerError

_Options = TypeVar("_Options")


def changed(kind: type[_Options], options: Mapping[str, Any]) -> _Options:
    """The defaults with some options changed.

    Raises:
        SamnerError: If an option is unknown or out of range.
    """
    known = asdict(kind())  # type: ignore[call-overload]
    if unknown := sorted(set(options) - set(known)):
        raise SamnerError(f"unknown training option {unknown[0]!r}; known are {', '.join(known)}")
    return kind(**options)


def check(options: Any, *, positive: Iterable[str], not_negative: Iterable[str], shares: Iterable[str]) -> None:
    """Refuse options that are no whole numbers where the annotation says ``int``, or out of range.

    Args:
        options: An instance of a dataclass whose annotations are strings.
        positive: Names of those that must be above 0, if they are given.
        not_negative: Of those that must be at least 0.
        shares: Of those that must lie in [0, 1).

    Raises:
        SamnerError: If one is not as it must be.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if str(field.type).startswith("int") and not (type(value) is int or value is None is field.default):
            raise SamnerError(f"{field.name} must be a whole number, not {value!r}")
    for name in positive:
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise SamnerError(f"{name} must be above 0, not {value}")
    for name in not_negative:
        if getattr(options, name) < 0:
            raise SamnerError(f"{name} must not be negative, not {getattr(options, name)}")
    for name in shares:
        if not 0 <= getattr(options, name) < 1:
            raise SamnerError(f"{name} must lie in [0, 1), not {getattr(options, name)}")
