"""How well a model in training answers: entities in what it writes, against those that are annotated."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any

import torch

from samner.backbones.base import BASE, TrainingSet
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.generation.ask import ask
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.words import for_texts
from samner.backbones.mixed_batch import MixedModels
from samner.scoring import Counts, span_counts

_ROOM = 16
"""Tokens that an answer may have more than the longest right one."""


def dev_counts(model: Any, tokenizer: Any, prompt: Prompt, data: TrainingSet, texts: range, batch: int) -> Counts:
    """Ask a model about some texts of a data set, greedily and unconstrained, and count what it finds.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        prompt: How it is asked.
        data: Texts, and the types to ask for.
        texts: Which of them.
        batch: Texts asked about at once.
    """
    examples = sorted((data.examples[i] for i in texts), key=lambda e: len(e.text))
    names = {t.name for t in data.types}
    counts: list[Counts] = []
    for start in range(0, len(examples), batch):
        asked = examples[start : start + batch]
        right = [
            answer
            for e in asked
            for answer in prompt.answer([(e.text[x.start : x.end], x.label) for x in e.entities], data.types)
        ]
        longest = max(len(ids) for ids in for_texts(tokenizer, right)(right, add_special_tokens=False)["input_ids"])
        engine = LocalEngine(model, tokenizer, MixedModels({}), prompt, longest + _ROOM)
        found = ask(
            engine,
            prompt,
            [e.text for e in asked],
            data.types,
            [BASE],
            0.0,
            constrained=False,
            statistics=defaultdict(Counter),
        )
        counts += span_counts([[e for e in x.entities if e.label in names] for x in asked], found[BASE])
    return sum(counts, start=Counts(0, 0, 0))


def mean_f1(counts: list[Counts], device: torch.device) -> float:
    """Strict span micro-F1 averaged over data sets, whose counts several processes share."""
    total = torch.tensor([[c.tp, c.fp, c.fn] for c in counts], device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return math.fsum(Counts(*row).f1 for row in total.tolist()) / len(counts)
