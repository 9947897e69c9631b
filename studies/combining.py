"""Compare rules of combining two task models by leave-one-domain-out: each domain's dev splits are the targets.

    python -m studies.combining src/samner/pools/smollm2 --data ../shared/data

Both task models, their economy merge and the bare base answer each data set once, from a low score on; answers are
kept on disk as they come, so that a run that was stopped goes on, and one with other rules takes a minute. No
target's test set is read.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from samner.adaptation import adapt, merge_experts, merge_parameters, recipes
from samner.backbones import BASE
from samner.cache import Cache
from samner.cli.output import guarded
from samner.entities import Entity
from samner.files import sha256
from samner.pool import ExpertPool
from samner.spans import flat
from studies.selection_rules import Target, asked, interval, study

EXPERTS, SEED = 3, 0
FLOOR = 0.02
"""The score from which answers are kept."""
TASK_MODELS = ("similarity", "sampling")

Scores = Mapping[str, np.ndarray]


class Answerer:
    """Answers of task models and base, kept by everything that decides them."""

    def __init__(self, pool: ExpertPool, cache: Cache) -> None:
        self.pool = pool
        self.cache = cache
        self.decides = [
            pool.backbone.fingerprint,
            sha256(pool.base_folder / "base.json"),  # says how scores are made
            {name: card.files for name, card in pool.experts.items()},
            merge_parameters(pool, "ties", {}),
            EXPERTS,
            FLOOR,
        ]

    def kept(self, target: Target) -> dict[str, Any] | None:
        return self.cache.get("combining", self._key(target))

    def ask(self, target: Target) -> Candidates:
        kept = self.kept(target)
        if kept is None:
            start = time.perf_counter()
            kept = self._answers(target)
            self.cache.put("combining", self._key(target), kept)
            print(f"{target.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        found = {name: [[Entity(*e) for e in its] for its in texts] for name, texts in kept["found"].items()}
        return Candidates.of(target, found)

    def _key(self, target: Target) -> list[object]:
        types = [t.prompt for t in target.types]
        return [self.decides, target.domain, types, target.texts, list(target.unlabelled), SEED]

    def _answers(self, target: Target) -> dict[str, Any]:
        model = adapt(self.pool, target.unlabelled, target.types, experts=EXPERTS, seed=SEED, exclude=[target.domain])
        weights = recipes(model.selections, "economy")["economy"]
        economy = merge_experts(self.pool, weights, "ties", merge_parameters(self.pool, "ties", {}))
        asked = {name: merge.model for name, merge in model.merges.items()} | {"economy": economy.model, "base": BASE}
        answers = self.pool.backbone.predict(target.texts, target.types, list(dict.fromkeys(asked.values())), FLOOR)
        found = {
            name: [[[e.start, e.end, e.label, round(e.score, 4)] for e in its] for its in answers[held]]
            for name, held in asked.items()
        }
        return {"found": found}


@dataclass(frozen=True, eq=False)
class Candidates:
    """All that any model finds in a target's texts: N entities as columns.

    Args:
        target: The target.
        places: Of each entity, the place of its text.
        entities: The entities; the scores are nobody's.
        raw: By model the N scores; 0 where it does not find the entity.
        flat: The same where each model has first resolved its own overlaps.
    """

    target: Target
    places: list[int]
    entities: list[Entity]
    raw: Scores
    flat: Scores

    @classmethod
    def of(cls, target: Target, found: Mapping[str, list[list[Entity]]]) -> Candidates:
        """From what each model finds in each text, overlaps and all."""
        places, entities = [], []
        raw: dict[str, list[float]] = {model: [] for model in found}
        resolved: dict[str, list[float]] = {model: [] for model in found}
        for place in range(len(target.gold)):
            its = {model: {e.key: e for e in texts[place]} for model, texts in found.items()}
            left = {model: {e.key: e for e in flat(claims.values())} for model, claims in its.items()}
            for key, entity in {key: e for claims in its.values() for key, e in claims.items()}.items():
                places.append(place)
                entities.append(entity)
                for model in found:
                    raw[model].append(its[model][key].score if key in its[model] else 0.0)
                    resolved[model].append(left[model][key].score if key in left[model] else 0.0)
        raw_scores, flat_scores = ({m: np.array(v) for m, v in scores.items()} for scores in (raw, resolved))
        return cls(target, places, entities, raw_scores, flat_scores)

    @cached_property
    def right(self) -> np.ndarray:
        gold = {(i, *e.key) for i, example in enumerate(self.target.gold) for e in example.entities}
        return np.array([(i, *e.key) in gold for i, e in zip(self.places, self.entities, strict=True)], dtype=bool)

    @cached_property
    def ties(self) -> list[int]:
        """The order of entities of one score, as ``samner.spans.flat`` has it."""
        return sorted(
            range(len(self.entities)),
            key=lambda n: ((e := self.entities[n]).start - e.end, e.start, e.label),
        )


@cache
def f1(c: Candidates, rule: Rule, threshold: float) -> float:
    """F1 of what a rule gives at least that score, overlaps resolved by it: ``flat`` once more, but for many."""
    scores = rule(c)
    ranked = np.array(c.ties, dtype=int)
    ranked = ranked[scores[ranked] >= threshold]
    taken: dict[int, list[Entity]] = {}
    hits = 0
    for n in ranked[np.argsort(-scores[ranked], kind="stable")].tolist():
        entity, kept = c.entities[n], taken.setdefault(c.places[n], [])
        if all(e.end <= entity.start or entity.end <= e.start for e in kept):
            kept.append(entity)
            hits += int(c.right[n])
    gold = sum(len({e.key for e in example.entities}) for example in c.target.gold)
    return 200 * hits / max(sum(map(len, taken.values())) + gold, 1)


# -- rules: from candidates to the scores that count; their settings are learned on other domains ---------------------

Rule = Callable[[Candidates], np.ndarray]
Setting = tuple[Rule, float]
Learner = Callable[[Sequence[Candidates]], Setting]
"""From what is known of some domains to the rule and the threshold for others."""

LIMIT = 0.2
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
SHARES = tuple(np.arange(0.02, 0.6, 0.02).round(2).tolist())
"""Thresholds of what isotonic curves give, which are shares of right entities: low where few are right."""


def both(c: Candidates, kind: str = "flat") -> tuple[np.ndarray, np.ndarray]:
    scores = getattr(c, kind)
    return scores["similarity"], scores["sampling"]


def highest(c: Candidates) -> np.ndarray:
    return np.maximum(*both(c))


def lowest(c: Candidates) -> np.ndarray:
    return np.minimum(*both(c))


def alone(model: str) -> Rule:
    return lambda c: c.flat[model]


def mean(kind: str) -> Rule:
    return lambda c: sum(both(c, kind)) / 2  # type: ignore[return-value]


def noisy_or(weight: float = 0.0) -> Rule:
    """The chance that not all are wrong, were they independent; the base counts by a weight."""

    def rule(c: Candidates) -> np.ndarray:
        one, other = both(c, "raw")
        return 1 - (1 - one) * (1 - other) * (1 - weight * c.raw["base"])

    return rule


def agreed(limit: float) -> Rule:
    """The highest score where both claim it; else only from a limit of its own."""
    return lambda c: np.where((lowest(c) >= LIMIT) | (highest(c) >= limit), highest(c), 0)


def best(rules: Sequence[Rule], thresholds: Sequence[float], known: Sequence[Candidates]) -> Setting:
    """The rule and threshold of the highest F1."""
    return max(
        itertools.product(rules, thresholds),
        key=lambda setting: np.mean([*average(known, [f1(c, *setting) for c in known]).values()]),
    )


def at(rules: Iterable[Rule], thresholds: Sequence[float] = THRESHOLDS) -> Learner:
    return partial(best, list(rules), thresholds)


def isotonic(known: Sequence[Candidates]) -> Rule:
    """A curve for what both find, and one for what each finds alone."""
    parts: list[Callable[[Candidates], np.ndarray]] = [
        lambda c: lowest(c) > 0,
        lambda c: (c.flat["similarity"] > 0) & (c.flat["sampling"] == 0),
        lambda c: (c.flat["similarity"] == 0) & (c.flat["sampling"] > 0),
    ]
    curves = [
        IsotonicRegression(out_of_bounds="clip").fit(
            np.concatenate([highest(c)[part(c)] for c in known]), np.concatenate([c.right[part(c)] for c in known])
        )
        for part in parts
    ]

    def rule(c: Candidates) -> np.ndarray:
        scores = np.zeros(len(c.entities))
        for part, curve in zip(parts, curves, strict=True):
            if (its := part(c)).any():
                # equal shares in the order of the scores
                scores[its] = curve.predict(highest(c)[its]) + 1e-3 * highest(c)[its]
        return scores

    return rule


PLAIN: dict[str, Rule] = {
    "union": highest,
    **{model: alone(model) for model in TASK_MODELS},
    "intersection": lowest,
    **{model: alone(model) for model in ("economy", "base")},
}
RULES: dict[str, Learner] = {
    **{f"{name}, as it is": at([rule], [LIMIT]) for name, rule in PLAIN.items()},
    **{name: at([rule]) for name, rule in PLAIN.items()},
    "mean": at([mean("raw")]),
    "mean, each without overlaps": at([mean("flat")]),
    "noisy or": at([noisy_or()]),
    "noisy or, with the base": at(noisy_or(weight) for weight in (0.25, 0.5, 1.0)),
    "alone from a higher score": at((agreed(limit) for limit in (0.25, 0.3, 0.4, 0.5, 0.6, 0.8)), [LIMIT]),
    "isotonic curves": lambda known: best([isotonic(known)], SHARES, known),
}


# -- what they give ---------------------------------------------------------------------------------------------------


def average(known: Sequence[Candidates], values: Iterable[float]) -> dict[str, float]:
    """Mean of each domain's data sets."""
    by_domain: dict[str, list[float]] = {}
    for c, value in zip(known, values, strict=True):
        by_domain.setdefault(c.target.domain, []).append(value)
    return {domain: float(np.mean(its)) for domain, its in by_domain.items()}


def nested(learner: Learner, every: Sequence[Candidates]) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each target by what the other domains teach, and by what all teach."""
    domains = dict.fromkeys(c.target.domain for c in every)
    taught = {domain: learner([c for c in every if c.target.domain != domain]) for domain in domains}
    of_all = learner(every)
    return np.array([f1(c, *taught[c.target.domain]) for c in every]), np.array([f1(c, *of_all) for c in every])


def shares(every: Sequence[Candidates]) -> Iterator[str]:
    """Markdown: how much of what is claimed is right, by who claims it."""
    yield "| claimed by | entities | right |\n|---|---:|---:|"
    for name, part in {
        "both": lambda c: lowest(c) >= LIMIT,
        "similarity alone": lambda c: (c.flat["similarity"] >= LIMIT) & (c.flat["sampling"] < LIMIT),
        "sampling alone": lambda c: (c.flat["similarity"] < LIMIT) & (c.flat["sampling"] >= LIMIT),
    }.items():
        right = np.concatenate([c.right[part(c)] for c in every])
        yield f"| {name} | {len(right)} | {right.mean():.0%} |"
    yield ""


def report(every: Sequence[Candidates]) -> Iterator[str]:
    """Markdown: each rule with settings chosen on the other domains, and its gain over today's union."""
    names = list(dict.fromkeys(c.target.domain for c in every))
    yield f"| rule | best setting on all | nested | gain over the union as it is | {' | '.join(names)} |"
    yield "|---|---:|---:|---:|" + "---:|" * len(names)
    first: np.ndarray | None = None
    for name, learner in RULES.items():
        chosen, on_all = nested(learner, every)
        first = chosen if first is None else first
        low, high = interval(chosen - first)
        means = average(every, chosen)
        cells = [f"{np.mean([*average(every, on_all).values()]):.1f}", f"{np.mean([*means.values()]):.1f}"]
        cells += [f"{(chosen - first).mean():+.1f} [{low:+.1f}, {high:+.1f}]", *(f"{means[n]:.1f}" for n in names)]
        yield f"| {name} | {' | '.join(cells)} |"


def in_turn(targets: Sequence[Target]) -> list[Target]:
    """A data set of each domain after the other, so that a run cut short has something of each."""
    domains = [list(its) for _, its in itertools.groupby(targets, key=lambda t: t.domain)]
    return [target for row in itertools.zip_longest(*domains) for target in row if target]


@guarded()
def main() -> None:
    parser = study(__doc__, cache="runs/combining.sqlite", texts=50)
    parser.add_argument("--kept", action="store_true", help="report on what is on disk; ask nothing")
    arguments = parser.parse_args()
    pool, targets = asked(arguments)
    answerer = Answerer(pool, Cache(arguments.cache))
    targets = [target for target in in_turn(targets) if not arguments.kept or answerer.kept(target)]
    if not targets:
        parser.error(f"nothing to report on: no data set of {arguments.pool}'s domains, or none kept")
    every = [answerer.ask(target) for target in targets]
    for line in itertools.chain(shares(every), report(every)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
