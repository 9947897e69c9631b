"""Selection by sampling: the experts that agree most with the majority on a few unlabelled texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from samner.backbones import Backbone
from samner.entities import Entity, EntityType
from samner.errors import PoolError, SamnerError
from samner.scoring import Counts
from samner.selection.result import AUTO, Count, PseudoLabel, Selection, check_count, first
from samner.selection.similarity import Target
from samner.spans import flat

_DISAGREEMENT = "no two experts agreed on any entity in the sample texts; expect little of what is found to be right"

_ENOUGH = 4
"""Different entities that experts agree on, from which their F1 is not mere chance."""

Votes = Mapping[tuple[int, int, int, str], tuple[str, ...]]
"""For an entity (index of its text, start, end, label), the experts that predicted it."""


ASKED = 20
"""Experts that are asked, at most, unless more are to be chosen: of a larger pool, those of the most similar texts."""


def by_sampling(target: Target) -> Selection:
    """``select_by_sampling`` among the most similar experts, as a signal; loads these."""
    similar = target.similarity  # what is wrong with the texts is said before the base model is loaded
    asked = first(similar.ranking, similar.cosine, ASKED if target.count == AUTO else max(ASKED, target.count))
    selection = select_by_sampling(
        target.pool.asked(asked),
        {name: similar.cosine[name] for name in asked},
        target.texts,
        target.types,
        count=target.count,
        samples=target.samples,
        seed=target.seed,
    )
    if len(asked) == len(similar.ranking):
        return selection
    note = f"the {len(asked)} most similar of {len(similar.ranking)} experts were asked"
    return replace(selection, note="; ".join(filter(None, (note, selection.note))))


def select_by_sampling(
    backbone: Backbone,
    cosine: Mapping[str, float],
    texts: Sequence[str],
    types: Sequence[EntityType],
    *,
    count: Count = AUTO,
    samples: int = 10,
    seed: int = 0,
    threshold: float | None = None,
) -> Selection:
    """Choose the experts that agree best with what all experts together find in a few texts.

    ``samples`` texts are drawn; every expert predicts them, all in one call of the backbone. An entity (span and
    type) that more than half of the experts predict becomes a pseudo-label. If there is none, two votes suffice; if
    there is still none, the order is that of similarity.

    Experts are ranked by their micro-F1 against the pseudo-labels; of equals the more similar expert comes first.

    Source: Ding, Wei and Fan (ACL 2025); the fallback is ours.

    Args:
        backbone: Holds every expert, registered under its name.
        cosine: The experts, with the similarity that breaks ties.
        texts: Unlabelled texts of the target domain.
        types: The entity types to look for.
        count: How many experts to choose; all, if there are fewer. ``"auto"``: see ``samner.selection.result.first``.
        samples: How many texts to draw; all, if there are fewer.
        seed: Of the draw.
        threshold: Score from which an expert's entity counts; the backbone's own by default.

    Raises:
        PoolError: If there are no experts.
        SamnerError: If every text is blank, or ``count`` or ``samples`` is not valid.
    """
    if not cosine:
        raise PoolError("the pool has no experts to select from")
    check_count(count)
    if samples < 1:
        raise SamnerError(f"the number of samples must be at least 1, not {samples}")
    places = draw(texts, samples, seed)
    sample = [texts[place] for place in places]
    names = sorted(cosine)
    score = backbone.threshold if threshold is None else threshold
    answers = backbone.predict(sample, types, names, score)
    predicted = {name: [flat(entities) for entities in answers[name]] for name in names}

    found = _votes(predicted)
    majority = len(names) // 2 + 1
    needed, note = _votes_needed(found, majority)
    gold = {key for key, voters in found.items() if needed is not None and len(voters) >= needed}
    f1 = {name: Counts.of(gold, _keys(predicted[name])).f1 for name in names}
    ranking = tuple(sorted(names, key=lambda name: (-f1[name], -cosine[name], name)))
    labels = tuple(PseudoLabel(*key, found[key]) for key in sorted(gold))
    return Selection(
        "sampling",
        first(ranking, f1, count),
        ranking,
        cosine=dict(cosine),
        f1=f1,
        votes_needed=needed,
        sample=tuple(places),
        pseudo_labels=labels,
        note="; ".join(filter(None, (note, _fewer(samples, len(places))))),
        warnings=tuple(_doubts(sample, gold)) if len(names) > 1 else (),
    )


def draw(texts: Sequence[str], samples: int, seed: int) -> list[int]:
    """A seeded draw of distinct texts that are not blank: their places, in order."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        if text.strip():
            places.setdefault(text, place)
    distinct = list(places.values())
    if not distinct:
        raise SamnerError("selection needs at least one text that is not blank")
    if len(distinct) <= samples:
        return distinct
    picked = np.random.default_rng(seed).choice(len(distinct), size=samples, replace=False)
    return [distinct[i] for i in sorted(picked)]


def _fewer(samples: int, there: int) -> str:
    return f"of {samples} samples asked for, there are only {there}, all distinct texts" if there < samples else ""


def _doubts(sample: Sequence[str], gold: Collection[tuple[int, int, int, str]]) -> list[str]:
    """Why what the experts agreed on decides nothing; one sentence, however often it stands in the texts, is one."""
    if not gold:
        return [_DISAGREEMENT]
    said = {(sample[text][start:end].casefold(), label) for text, start, end, label in gold}
    if len(said) >= _ENOUGH:
        return []
    rests = "a single entity" if len(said) == 1 else f"{len(said)} different entities"
    return [f"the choice by sampling rests on {rests}, too little to tell experts apart; give more or longer texts"]


def _votes(predicted: Mapping[str, Sequence[Sequence[Entity]]]) -> Votes:
    votes: dict[tuple[int, int, int, str], tuple[str, ...]] = {}
    for name, answers in predicted.items():
        for key in _keys(answers):
            votes[key] = (*votes.get(key, ()), name)
    return votes


def _keys(answers: Sequence[Sequence[Entity]]) -> set[tuple[int, int, int, str]]:
    return {(text, *entity.key) for text, entities in enumerate(answers) for entity in entities}


def _votes_needed(votes: Votes, majority: int) -> tuple[int | None, str]:
    most = max((len(voters) for voters in votes.values()), default=0)
    if most >= majority:
        return majority, ""
    if most >= 2:
        return 2, f"no entity got a majority of {majority} votes; two votes were taken as enough"
    return None, "no two experts agreed on any entity; the experts are ranked by similarity"
