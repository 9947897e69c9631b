"""How many experts a strategy chooses: a number, or all that are not far below the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from samner.errors import SamnerError

AUTO = "auto"
MOST = 3
"""Experts that ``"auto"`` chooses at most."""
SHARE = 0.3
"""Share of the best expert's score that another needs to be chosen by ``"auto"``; by leave-one-domain-out."""

Count: TypeAlias = int | Literal["auto"]


def check_count(count: Count) -> None:
    """Refuse what is no number of experts.

    Raises:
        SamnerError: If it is neither ``"auto"`` nor a whole number of at least 1.
    """
    if count != AUTO and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise SamnerError(f"the number of experts must be at least 1 or {AUTO!r}, not {count!r}")


def first(ranking: Sequence[str], score: Mapping[str, float], count: Count) -> tuple[str, ...]:
    """The experts to choose from a ranking, best first.

    Args:
        ranking: All experts, best first.
        score: What they are ranked by.
        count: How many; all, if there are fewer. ``"auto"``: the best, and up to two more whose score is at least
            0.3 of the best one's.
    """
    if isinstance(count, int):
        return tuple(ranking[:count])
    least = SHARE * score[ranking[0]]
    return (ranking[0], *(name for name in ranking[1:MOST] if score[name] >= least > 0))
