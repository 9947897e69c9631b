"""What a selection strategy decided, and every score it decided by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PseudoLabel:
    """An entity that enough experts agreed on in a sample text, and who they were."""

    text: int
    start: int
    end: int
    label: str
    votes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Experts chosen by one strategy.

    Args:
        strategy: ``"similarity"`` or ``"sampling"``.
        chosen: The experts, best first.
        ranking: All experts, best first.
        cosine: Cosine of each expert's domain embedding with the target's.
        f1: Micro-F1 of each expert against the pseudo-labels; sampling only.
        votes_needed: Votes an entity needed to become a pseudo-label; sampling only, none if no entity got any.
        sample: The sample texts; sampling only.
        pseudo_labels: What the experts agreed on; sampling only.
        note: What the user should know about how it went; empty if all went as usual.
        warnings: Why its choice should not be trusted; empty if nothing speaks against it.
    """

    strategy: str
    chosen: tuple[str, ...]
    ranking: tuple[str, ...]
    cosine: Mapping[str, float]
    f1: Mapping[str, float] = field(default_factory=dict)
    votes_needed: int | None = None
    sample: tuple[str, ...] = ()
    pseudo_labels: tuple[PseudoLabel, ...] = ()
    note: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Selection:
        """Read what ``to_dict`` wrote."""
        labels = tuple(PseudoLabel(**{**p, "votes": tuple(p["votes"])}) for p in values["pseudo_labels"])
        tuples = {key: tuple(values[key]) for key in ("chosen", "ranking", "sample", "warnings")}
        return cls(**{**values, **tuples, "pseudo_labels": labels})
