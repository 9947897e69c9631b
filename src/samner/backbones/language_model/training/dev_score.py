"""How well a model in training answers: entities in what it writes, against those that are annotated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from samner.backbones.base import TrainingSet
from samner.backbones.language_model.generation.alignment import align
from samner.backbones.language_model.generation.answer import parse
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import prompt_ids, render
from samner.entities import EntityType

_ROOM = 16
"""Tokens that an answer may have more than the longest right one."""


class EntityCounts(NamedTuple):
    """Entities found that are right, entities found, entities annotated."""

    hits: int
    found: int
    gold: int

    @property
    def f1(self) -> float:
        """Strict span micro-F1."""
        return 2 * self.hits / max(self.found + self.gold, 1)


class _Asked(NamedTuple):
    row: int
    ids: list[int]
    answer: int  # tokens of the right answer
    about: EntityType | None


def count_entities(
    model: Any, tokenizer: Any, prompt: Prompt, data: TrainingSet, texts: range, batch: int
) -> EntityCounts:
    """Ask a model about some texts of a data set, greedily and unconstrained, and count what it finds.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        prompt: How it is asked.
        data: Texts, and the types to ask for.
        texts: Which of them.
        batch: Questions asked at once.
    """
    asked = [q for i in texts for q in _questions(tokenizer, prompt, data, i)]
    found: dict[int, set[tuple[int, int, str]]] = {i: set() for i in texts}
    for group in _batches(sorted(asked, key=lambda q: len(q.ids)), batch):
        for question, raw in zip(group, _write(model, tokenizer, group), strict=True):
            mentions = parse(raw, prompt.format, data.types, question.about).mentions
            aligned, _ = align(data.examples[question.row].text, mentions)
            found[question.row] |= {(a.start, a.end, a.mention.label) for a in aligned}
    names = {t.name for t in data.types}
    gold = {i: {e.key for e in data.examples[i].entities if e.label in names} for i in texts}
    return EntityCounts(
        sum(len(found[i] & gold[i]) for i in texts),
        sum(len(found[i]) for i in texts),
        sum(len(gold[i]) for i in texts),
    )


def _questions(tokenizer: Any, prompt: Prompt, data: TrainingSet, row: int) -> Iterator[_Asked]:
    example = data.examples[row]
    mentions = [(example.text[e.start : e.end], e.label) for e in example.entities]
    answers = prompt.answer(mentions, data.types)
    about = data.types if prompt.per_type else [None]
    for question, answer, its_type in zip(prompt.questions(example.text, data.types), answers, about, strict=True):
        length = len(tokenizer(answer, add_special_tokens=False)["input_ids"])
        yield _Asked(row, prompt_ids(render(prompt, question, tokenizer), tokenizer), length, its_type)


def _batches(asked: Sequence[_Asked], size: int) -> Iterator[Sequence[_Asked]]:
    for start in range(0, len(asked), size):
        yield asked[start : start + size]


@torch.no_grad()
def _write(model: Any, tokenizer: Any, asked: Sequence[_Asked]) -> list[str]:
    width = max(len(q.ids) for q in asked)
    pad = tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (width - len(q.ids)) + q.ids for q in asked], device=model.device)
    mask = torch.tensor([[0] * (width - len(q.ids)) + [1] * len(q.ids) for q in asked], device=model.device)
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max(q.answer for q in asked) + _ROOM,
        do_sample=False,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
    )
    answers: list[str] = tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
    return answers
