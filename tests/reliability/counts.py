"""How often the campaign does each thing. ``SAMNER_RELIABILITY=0.01`` in the environment does a hundredth of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Counts:
    """The numbers of a full campaign.

    Args:
        kills: Of each verb that writes something.
        edits: Of a pool by each of two processes.
        thread_seconds: For which eight threads share a pool.
        headers: Damaged files of safetensors.
        answers: Damaged answers of language models.
        files: Damaged input files.
        predictions: By one process, whose memory is watched.
        adaptations: By the same process.
        lines: Of a file that is streamed through a model.
        flip_step: Of how many bytes of an adapter and its card one is flipped.
    """

    kills: int = 29
    edits: int = 200
    thread_seconds: int = 120
    headers: int = 10_000
    answers: int = 100_000
    files: int = 50_000
    predictions: int = 20_000
    adaptations: int = 200
    lines: int = 100_000
    flip_step: int = 1


def _scaled(counts: Counts, factor: float) -> Counts:
    scaled = {f.name: max(1, round(getattr(counts, f.name) * factor)) for f in fields(counts)}
    return replace(counts, **{**scaled, "flip_step": max(1, round(1 / factor))})


COUNTS = _scaled(Counts(), float(os.environ.get("SAMNER_RELIABILITY", "1")))
