"""What a signal decided, every score it decided by, and how many experts of its ranking it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from samner import arguments
from samner.errors import SamnerError


@dataclass(frozen=True, slots=True)
class PseudoLabel:
    """An entity that enough experts agreed on in a sample text (its place in the sample), and who they were."""

    text: int
    start: int
    end: int
    label: str
    votes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Experts chosen by one signal. It holds none of the texts, so that it may be kept and passed on.

    Args:
        strategy: The signal's name, ``"similarity"`` for instance.
        chosen: The experts, best first.
        ranking: All experts, best first; by sampling, those that were asked.
        cosine: Cosine of the domain embedding of each of them with the target's.
        f1: Micro-F1 of each expert against the pseudo-labels; sampling only.
        votes_needed: Votes an entity needed to become a pseudo-label; sampling only, none if no entity got any.
        sample: Places of the sample texts among those given; sampling only.
        pseudo_labels: What the experts agreed on; sampling only.
        note: What the user should know about how it went; empty if all went as usual.
        warnings: Why its choice should not be trusted; empty if nothing speaks against it.
        home: Whether the target is the domain of the one expert chosen, which answers as it is, unmerged.
    """

    strategy: str
    chosen: tuple[str, ...]
    ranking: tuple[str, ...]
    cosine: Mapping[str, float]
    f1: Mapping[str, float] = field(default_factory=dict)
    votes_needed: int | None = None
    sample: tuple[int, ...] = ()
    pseudo_labels: tuple[PseudoLabel, ...] = ()
    note: str = ""
    warnings: tuple[str, ...] = ()
    home: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Selection:
        """Read what ``to_dict`` wrote; an earlier release wrote the sample texts themselves, which are dropped."""
        labels = tuple(PseudoLabel(**{**p, "votes": tuple(p["votes"])}) for p in values["pseudo_labels"])
        tuples = {key: tuple(values[key]) for key in ("chosen", "ranking", "sample", "warnings")}
        tuples["sample"] = tuple(place for place in tuples["sample"] if isinstance(place, int))
        return cls(**{**values, **tuples, "pseudo_labels": labels})


AUTO: Literal["auto"] = "auto"
MOST = 3
"""Experts that ``"auto"`` chooses at most."""
SHARE = 0.3
"""Share of the best expert's score that another needs to be chosen by ``"auto"``; by leave-one-domain-out."""

Count: TypeAlias = int | Literal["auto"]


def check_count(count: Count) -> Count:
    """The number of experts as a plain number, or ``"auto"``.

    Raises:
        SamnerError: If it is neither ``"auto"`` nor a whole number of at least 1.
    """
    try:
        return AUTO if count == AUTO else arguments.whole(count, "count", 1)
    except SamnerError as error:
        raise SamnerError(f"the number of experts must be at least 1 or {AUTO!r}, not {count!r}") from error


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


def too_few(count: Count, there: int) -> str:
    """Say that fewer experts are chosen than were asked for, if there are; else nothing."""
    if not isinstance(count, int) or count <= there:
        return ""
    return f"{count} experts were asked for, and there {'is' if there == 1 else 'are'} only {there}"
