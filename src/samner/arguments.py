"""What callers pass to public functions: taken if it can be meant, else refused by a line that names the argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from numbers import Real

from samner.errors import SamnerError


def strings(values: object, name: str, of: str = "string") -> list[str]:
    """Any iterable of strings as a list; of a Hugging Face dataset, its column ``text``.

    Args:
        values: What was passed.
        name: Of the argument.
        of: What one of them is, for the message.

    Raises:
        SamnerError: If it is anything else, or holds anything else; a single string is no iterable of strings here.
    """
    values = _column(values, name)
    if isinstance(values, str):
        raise SamnerError(f"{name} must be a list of {of}s, not the single string {_short(values)}")
    if isinstance(values, bytes | Mapping) or not isinstance(values, Iterable):
        raise SamnerError(f"{name} must be a list (or other iterable) of {of}s, not {_short(values)}")
    result = list(values)
    for i, value in enumerate(result):
        if not isinstance(value, str):
            raise SamnerError(f"every one of {name} must be a string; number {i} is {_short(value)}")
    return result


def _column(values: object, name: str) -> object:
    """The texts of what is a Hugging Face dataset, by what it can do: the package need not be there."""
    if isinstance(values, Mapping):
        if split := next((split for split, its in values.items() if hasattr(its, "column_names")), None):
            raise SamnerError(f"{name} must be of one split of the dataset, as dataset[{split!r}]")
        return values
    columns = getattr(values, "column_names", None)
    if not isinstance(columns, list) or not hasattr(values, "select_columns"):
        return values
    if "text" not in columns:
        raise SamnerError(f"{name} is a dataset without a column 'text'; name one, as dataset[{columns[0]!r}]")
    return values["text"]  # type: ignore[index]


def whole(value: object, name: str, least: int) -> int:
    """A whole number of at least ``least``, of any integer type.

    Raises:
        SamnerError: If it is anything else.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise SamnerError(f"{name} must be a whole number of at least {least}, not {_short(value)}")
    return number


def probability(value: object, name: str) -> float:
    """A number strictly between 0 and 1, of any type of real numbers.

    Raises:
        SamnerError: If it is anything else.
    """
    number = float(value) if isinstance(value, Real) else math.nan  # true and false are out of range
    if not 0 < number < 1:
        raise SamnerError(f"{name} must lie between 0 and 1 (exclusive), not {_short(value)}")
    return number


def share(value: object, name: str) -> float:
    """A number from 0 to 1.

    Raises:
        SamnerError: If it is anything else.
    """
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 <= number <= 1:
        raise SamnerError(f"{name} must be a number from 0 to 1, not {_short(value)}")
    return number


def flag(value: object, name: str) -> bool:
    """True or false, of any such type: a string would always be true.

    Raises:
        SamnerError: If it is anything else.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):  # numpy's, which need not be there
        return bool(value)
    raise SamnerError(f"{name} must be True or False, not {_short(value)}")


def _short(value: object, most: int = 60) -> str:
    shown = repr(value)
    return shown if len(shown) <= most else f"{type(value).__name__} {shown[:most]}..."
