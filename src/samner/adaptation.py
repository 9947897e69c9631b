"""The method from end to end: select experts, merge them, hand back a task model.

Source: Ding, Wei and Fan, *Selecting and Merging: Towards Adaptable and Scalable Named Entity Recognition with Large
Language Models*, ACL 2025 (arXiv 2506.22813). Where the paper is silent, ``docs/method.md`` says what we chose.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from samner import arguments
from samner.display import known_names
from samner.embedding import spread
from samner.entities import EntityType, LabelsLike, entity_types
from samner.errors import PoolError, SamnerError
from samner.merging import MergedDeltas, make_method, methods
from samner.merging.registry import suited
from samner.pool import ExpertPool, PoolSnapshot
from samner.pool.card import POOL_CARD
from samner.selection import AUTO, SIGNALS, Count, Selection, Target, check_count, select_by
from samner.task_model import STRATEGIES, Merge, TaskModel, held, hold, modes
from samner.thresholds import ThresholdLike, by_label

_AS_IT_IS = {"density", "lam"}
"""Parameters of merge methods by which, at 1, a single expert comes out as it went in."""
_TEXTS = 500
"""Texts that experts are selected by, at most: more do not move a selection, but take long to embed."""


def adapt(
    pool: ExpertPool,
    texts: Iterable[str],
    labels: LabelsLike,
    *,
    mode: str = "union",
    experts: Count = AUTO,
    samples: int = 10,
    seed: int = 0,
    method: str = "ties",
    threshold: ThresholdLike | None = None,
    exclude: Iterable[str] = (),
    on_step: Callable[[str], None] | None = None,
    **parameters: Any,
) -> TaskModel:
    """Turn a pool into a recogniser for a domain, from unlabelled texts and the types to look for.

    Args:
        pool: The experts and their base.
        texts: Unlabelled texts of the domain. A few hundred are plenty: of more than 500, so many are read, evenly
            spread.
        labels: The entity types to look for: names, or a mapping from name to description.
        mode: ``"union"`` (what either task model finds), ``"intersection"``, ``"similarity"`` or ``"sampling"`` (one
            task model alone), or ``"economy"``: one merge of every expert that either strategy picked, weighted by
            how many picked it, for a single pass.
        experts: How many experts each strategy picks; ``"auto"``: its best and those not far below, at most three;
            where the domain is an expert's own, that one, unmerged.
        samples: How many texts selection by sampling draws.
        seed: Of that draw, and of merge methods that are random.
        method: Merge method; see ``samner.merging.methods``.
        threshold: Score from which an entity counts, or a mapping of labels to scores; the base model's own by
            default.
        exclude: Experts to leave out of account.
        on_step: Called before each step with what is done next. What it raises ends the adaptation there.
        **parameters: Of the merge method, for instance ``density=0.2``; by default those set for the pool, then the
            method's own.

    Raises:
        SamnerError: If an argument is not valid or no text is left.
        PoolError: If the pool is empty, or an expert is unknown or of another base.

    Example:
        >>> pool = ExpertPool.load("builtin")
        >>> model = adapt(pool, ["Aspirin relieves headache."], labels=["drug", "disease"])
        >>> model.selections["similarity"].ranking[0]
        'biomedical'
    """
    if not isinstance(pool, ExpertPool):
        raise SamnerError(f"pool must be an ExpertPool, as ExpertPool.load('builtin') gives, not {pool!r}")
    now = pool.snapshot()
    types = entity_types(labels)
    if mode not in modes():
        raise SamnerError(f"unknown mode {mode!r}; known are {', '.join(modes())}")
    experts = check_count(experts)
    seed, samples = arguments.whole(seed, "seed", 0), arguments.whole(samples, "samples", 1)
    make_method(method, {})  # refuses a name that is none
    given = set(parameters)
    if "seed" in methods().get(method, {}):
        parameters = {**parameters, "seed": seed}
    parameters = merge_parameters(pool, method, parameters)
    make_method(method, parameters)  # what is wrong with them is said before the work, not after
    backbone = pool.backbone
    limits = by_label(threshold, types, backbone.threshold, {})
    limit = backbone.threshold if isinstance(threshold, Mapping) else limits[types[0].name]
    own = {name: limits[name] for name in threshold} if isinstance(threshold, Mapping) else {}

    say = on_step or (lambda step: None)
    say("selecting experts")
    selections = select(now, texts, types, mode=mode, count=experts, samples=samples, seed=seed, exclude=exclude)
    if any(selection.home for selection in selections.values()):
        parameters = {**parameters, **dict.fromkeys((_AS_IT_IS - given) & methods()[method].keys(), 1.0)}
    merges = {}
    for name, weights in recipes(selections, mode).items():
        say(f"merging for {name}")
        merges[name] = merge_experts(now, weights, method, parameters)
    settings = {
        "pool": pool.source or pool.folder.name,
        "method": method,
        "parameters": parameters,
        "experts": experts,
        "samples": samples,
        "seed": seed,
    }
    return TaskModel(backbone, pool.base_folder, types, mode, merges, selections, settings, limit, own)


def select(
    pool: ExpertPool | PoolSnapshot,
    texts: Iterable[str],
    types: Sequence[EntityType],
    *,
    mode: str = "union",
    count: Count = AUTO,
    samples: int = 10,
    seed: int = 0,
    exclude: Iterable[str] = (),
) -> dict[str, Selection]:
    """Run the selection strategies that a mode needs; see ``adapt`` for the arguments.

    Raises:
        PoolError: If the pool is empty, or an expert is unknown or of another base.
        SamnerError: If no text is left or a number is out of range.
    """
    pool = pool.snapshot() if isinstance(pool, ExpertPool) else pool
    count = check_count(count)
    samples = arguments.whole(samples, "samples", 1)
    given = arguments.strings(texts, "texts", "text")
    places = spread(range(len(given)), _TEXTS)
    read = [given[place] for place in places]
    excluded = set(arguments.strings(exclude, "exclude", "name"))
    cards = pool.experts
    if unknown := excluded - set(cards):
        name = min(unknown)
        raise PoolError(f"{pool.folder} has no expert {name!r} to leave out; it has: {known_names(name, cards)}")
    if excluded and excluded == set(cards):
        raise PoolError(f"every expert of {pool.folder} is to be left out, so there is none to select from")
    cards = cards.without(excluded)
    selections = select_by(
        (mode,) if mode in SIGNALS else STRATEGIES, Target(pool, cards, read, types, count, samples, seed)
    )
    return {name: replace(s, sample=tuple(places[i] for i in s.sample)) for name, s in selections.items()}


def merge_parameters(pool: ExpertPool, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What to merge with: the parameters given, and of those that suit the pool's experts what the method knows.

    Raises:
        PoolError: If the pool names a parameter that no method has, or a value that the method refuses.
    """
    make_method(method, {})  # refuses a name that is none
    try:
        return {**suited(method, pool.merge), **given}
    except SamnerError as error:
        raise PoolError(f"{pool.folder / POOL_CARD}: {error}") from error


def merge_experts(
    pool: ExpertPool | PoolSnapshot, weights: Mapping[str, float], method: str, parameters: Mapping[str, Any]
) -> Merge:
    """Merge experts and put the result on the pool's base, unless the same merge is there already.

    The name is a digest of what was merged and how, so that task models of several adaptations of one pool live side
    by side, and the two strategies share one where they picked the same experts. It leaves the base with the last
    reference to what this returns.
    """
    pool = pool.snapshot() if isinstance(pool, ExpertPool) else pool
    adapters = {expert: pool.adapter(expert) for expert in weights}
    recipe = [[(adapters[e].digest, w) for e, w in sorted(weights.items())], method, sorted(parameters.items())]
    name = f"task-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]}"
    backbone = pool.backbone
    if known := held(backbone, name):
        return known
    types = sorted({taught for expert in weights for taught in pool.experts[expert].types})
    deltas = MergedDeltas(list(adapters.values()), method, list(weights.values()), **parameters)
    return hold(backbone, Merge(dict(weights), name, tuple(types)), deltas)


def recipes(selections: Mapping[str, Selection], mode: str) -> dict[str, dict[str, float]]:
    """For each task model a mode needs, its experts with their weights."""
    if mode == "economy":
        picks = Counter(expert for selection in selections.values() for expert in selection.chosen)
        return {"economy": {expert: float(picks[expert]) for expert in sorted(picks)}}
    return {name: dict.fromkeys(sorted(selections[name].chosen), 1.0) for name in selections}
