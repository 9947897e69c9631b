"""Compare rules of combining two task models by leave-one-domain-out: each domain's dev splits are the targets.

    python -m studies.combining src/samner/pools/smollm2 --data ../shared/data

Both task models, their economy merge and the bare base answer each data set once, from a low score on; answers are
kept on disk as they come, so that a run that was stopped goes on, and one with other rules takes a minute. No
target's test set is read.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from samner.adaptation import adapt, merge_experts, merge_parameters, recipes
from samner.backbones import BASE
from samner.cache import Cache
from samner.cli.output import guarded
from samner.entities import Entity
from samner.files import sha256
from samner.pool import ExpertPool
from samner.selection import Count
from samner.spans import flat
from studies.selection_rules import Target, interval, read_targets
from studies.training_data import POOL_DATA, Datasets, domains

FLOOR = 0.02
"""The score from which answers are kept."""
TASK_MODELS = ("similarity", "sampling")
VOICES = (*TASK_MODELS, "base")

Scores = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Answered:
    """A target with all that each model finds in each of its texts, overlaps and all."""

    target: Target
    found: Mapping[str, list[list[Entity]]]


class Answerer:
    """Answers of task models and base, kept by everything that decides them."""

    def __init__(self, pool: ExpertPool, cache: Cache, count: Count) -> None:
        self.pool = pool
        self.cache = cache
        self.count = count
        self.decides = [
            pool.backbone.fingerprint,
            sha256(pool.base_folder / "base.json"),  # says how scores are made
            {name: card.files for name, card in pool.experts.items()},
            merge_parameters(pool, "ties", {}),
            count,
            FLOOR,
        ]

    def kept(self, target: Target, seed: int) -> dict[str, Any] | None:
        return self.cache.get("combining", self._key(target, seed))

    def ask(self, target: Target, seed: int) -> Answered:
        kept = self.kept(target, seed)
        if kept is None:
            start = time.perf_counter()
            kept = self._answers(target, seed)
            self.cache.put("combining", self._key(target, seed), kept)
            print(f"{target.name}, draw {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        found = {name: [[Entity(*e) for e in its] for its in texts] for name, texts in kept["found"].items()}
        return Answered(target, found)

    def _key(self, target: Target, seed: int) -> list[object]:
        types = [t.prompt for t in target.types]
        return [self.decides, target.domain, types, target.texts, list(target.unlabelled), seed]

    def _answers(self, target: Target, seed: int) -> dict[str, Any]:
        model = adapt(
            self.pool, target.unlabelled, target.types, experts=self.count, seed=seed, exclude=[target.domain]
        )
        weights = recipes(model.selections, "economy")["economy"]
        economy = merge_experts(self.pool, weights, "ties", merge_parameters(self.pool, "ties", {}))
        asked = {name: merge.model for name, merge in model.merges.items()} | {"economy": economy.model, "base": BASE}
        answers = self.pool.backbone.predict(target.texts, target.types, list(dict.fromkeys(asked.values())), FLOOR)
        found = {
            name: [[[e.start, e.end, e.label, round(e.score, 4)] for e in its] for its in answers[held]]
            for name, held in asked.items()
        }
        return {"found": found}


@dataclass(frozen=True)
class Candidates:
    """All that any model finds in a target's texts: N entities as columns.

    Args:
        target: The target.
        places: Of each entity, the place of its text.
        entities: The entities; the scores are nobody's.
        raw: By model the N scores; 0 where it does not find the entity.
        flat: The same where each model has first resolved its own overlaps.
        span: By task model the highest score that the other one gives to the same span, whatever the type.
        overlap: The same of entities of the same type that overlap.
    """

    target: Target
    places: list[int]
    entities: list[Entity]
    raw: Scores
    flat: Scores
    span: Scores
    overlap: Scores

    @classmethod
    def of(cls, answered: Answered) -> Candidates:
        places, entities = [], []
        voices = list(answered.found)
        kinds = {"raw": voices, "flat": voices, "span": TASK_MODELS, "overlap": TASK_MODELS}
        columns: dict[str, dict[str, list[float]]] = {k: {model: [] for model in its} for k, its in kinds.items()}
        for place in range(len(answered.target.gold)):
            its = {model: {e.key: e for e in texts[place]} for model, texts in answered.found.items()}
            left = {model: {e.key: e for e in flat(found.values())} for model, found in its.items()}
            every = {key: e for found in its.values() for key, e in found.items()}
            for key, entity in every.items():
                places.append(place)
                entities.append(entity)
                for model in voices:
                    columns["raw"][model].append(its[model][key].score if key in its[model] else 0.0)
                    columns["flat"][model].append(left[model][key].score if key in left[model] else 0.0)
                for one, other in (TASK_MODELS, TASK_MODELS[::-1]):
                    near = [e for e in left[other].values() if e.start < entity.end and entity.start < e.end]
                    same = [e.score for e in near if (e.start, e.end) == (entity.start, entity.end)]
                    columns["span"][one].append(max(same, default=0.0))
                    columns["overlap"][one].append(
                        max((e.score for e in near if e.label == entity.label), default=0.0)
                    )
        tables = {kind: {model: np.array(v) for model, v in its.items()} for kind, its in columns.items()}
        return cls(answered.target, places, entities, **tables)

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

    def f1(self, scores: np.ndarray, threshold: float) -> float:
        """F1 of what has at least that score, overlaps resolved by it: ``flat`` once more, but for many thresholds."""
        ranked = np.array(self.ties, dtype=int)
        ranked = ranked[scores[ranked] >= threshold]
        taken: dict[int, list[Entity]] = {}
        hits = 0
        for n in ranked[np.argsort(-scores[ranked], kind="stable")].tolist():
            entity, kept = self.entities[n], taken.setdefault(self.places[n], [])
            if all(e.end <= entity.start or entity.end <= e.start for e in kept):
                kept.append(entity)
                hits += int(self.right[n])
        gold = sum(len({e.key for e in example.entities}) for example in self.target.gold)
        return 200 * hits / max(sum(map(len, taken.values())) + gold, 1)


# -- rules: from candidates to the scores that count ------------------------------------------------------------------

Rule = Callable[[Candidates], np.ndarray]
Setting = tuple[Rule, float]


def both(c: Candidates, kind: str = "flat") -> tuple[np.ndarray, np.ndarray]:
    scores = getattr(c, kind)
    return scores["similarity"], scores["sampling"]


def highest(c: Candidates) -> np.ndarray:
    return np.maximum(*both(c))


def lowest(c: Candidates) -> np.ndarray:
    return np.minimum(*both(c))


def alone(model: str) -> Rule:
    return lambda c: c.flat[model]


def mean(kind: str, weight: float = 0.5) -> Rule:
    def rule(c: Candidates) -> np.ndarray:
        one, other = both(c, kind)
        return weight * one + (1 - weight) * other

    return rule


def mean_log_odds(weight: float = 0.0) -> Rule:
    """The mean of log-odds, what was not found at the floor; the base's has a weight besides."""

    def rule(c: Candidates) -> np.ndarray:
        one, other = map(log_odds, both(c, "raw"))
        return 1 / (1 + np.exp(-(one + other + weight * log_odds(c.raw["base"])) / (2 + weight)))

    return rule


def noisy_or(kind: str, weight: float = 0.0) -> Rule:
    """The chance that not all are wrong, were they independent; the base counts by a weight."""

    def rule(c: Candidates) -> np.ndarray:
        one, other = both(c, kind)
        return 1 - (1 - one) * (1 - other) * (1 - weight * getattr(c, kind)["base"])

    return rule


def mean_of_three(c: Candidates) -> np.ndarray:
    return sum(c.raw[m] for m in VOICES) / 3  # type: ignore[return-value]


def two_of_three(c: Candidates) -> np.ndarray:
    return np.sort([c.flat[m] for m in VOICES], axis=0)[1]


def ranked_by_mean(limit: float) -> Rule:
    """Counts by the highest score, and wins over what overlaps it by the mean."""
    return lambda c: np.where(highest(c) >= limit, mean("raw")(c), 0)


def agreed(kind: str, low: float, limit: float) -> Rule:
    """The highest score where the other model gives at least ``low``; else only from a limit of its own."""

    def rule(c: Candidates) -> np.ndarray:
        one, other = both(c)
        if kind == "entity":
            supported = lowest(c) >= low
        elif kind == "base":
            supported = (lowest(c) >= low) | (c.flat["base"] >= low)
        else:
            support = getattr(c, kind)
            supported = np.where(one >= other, support["similarity"], support["sampling"]) >= low
        return np.where(supported | (highest(c) >= limit), highest(c), 0)

    return rule


def by_model(similarity: float, sampling: float) -> Rule:
    """Alone, each model counts from a limit of its own."""

    def rule(c: Candidates) -> np.ndarray:
        one, other = both(c)
        return np.where((one >= similarity) | (other >= sampling) | (lowest(c) >= LIMIT), highest(c), 0)

    return rule


def surer(signal: Callable[[Candidates, str], float], margin: float = 0.0) -> Rule:
    """One task model alone where a signal prefers it by a share of the whole; else the union."""

    def rule(c: Candidates) -> np.ndarray:
        one, other = (signal(c, m) for m in TASK_MODELS)
        lead = (one - other) / max(one + other, 1e-9)
        if abs(lead) <= margin:
            return highest(c)
        return c.flat["similarity" if lead > 0 else "sampling"]

    return rule


def confidence(c: Candidates, model: str) -> float:
    return float(c.flat[model][c.flat[model] >= LIMIT].sum())


def mean_confidence(c: Candidates, model: str) -> float:
    found = c.flat[model] >= LIMIT
    return float(c.flat[model][found].mean()) if found.any() else 0.0


def agreement_with_base(c: Candidates, model: str) -> float:
    one, base = c.flat[model] >= LIMIT, c.flat["base"] >= LIMIT
    return float(2 * (one & base).sum() / max(one.sum() + base.sum(), 1))


def log_odds(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, FLOOR, 0.999)
    return np.log(clipped / (1 - clipped))


THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
LIMIT = 0.2


def at(rules: Iterable[Rule], thresholds: Iterable[float] = THRESHOLDS) -> list[Setting]:
    return list(itertools.product(rules, thresholds))


LIMITS = (0.25, 0.3, 0.4, 0.5, 0.6, 0.8)
RULES: dict[str, list[Setting]] = {
    "union, as it is": at([highest], [LIMIT]),
    "similarity, as it is": at([alone("similarity")], [LIMIT]),
    "sampling, as it is": at([alone("sampling")], [LIMIT]),
    "intersection, as it is": at([lowest], [LIMIT]),
    "economy, as it is": at([alone("economy")], [LIMIT]),
    "base, as it is": at([alone("base")], [LIMIT]),
    "union": at([highest]),
    "similarity": at([alone("similarity")]),
    "sampling": at([alone("sampling")]),
    "intersection": at([lowest]),
    "economy": at([alone("economy")]),
    "base": at([alone("base")]),
    "mean": at([mean("raw")]),
    "mean, each without overlaps": at([mean("flat")]),
    "weighted mean": at(mean("raw", w) for w in (0.3, 0.4, 0.5, 0.6, 0.7)),
    "mean of log-odds": at([mean_log_odds()]),
    "noisy or": at([noisy_or("raw")]),
    "noisy or, each without overlaps": at([noisy_or("flat")]),
    "noisy or, with the base": at(noisy_or("raw", w) for w in (0.25, 0.5, 1.0)),
    "union, overlaps by the mean": at((ranked_by_mean(t) for t in THRESHOLDS), [0.001]),
    "alone from a higher score": at((agreed("entity", LIMIT, t) for t in LIMITS), [LIMIT]),
    "the same, the other from a lower one": at(
        (agreed("entity", low, t) for low in (0.02, 0.05, 0.1) for t in LIMITS), [LIMIT]
    ),
    "the same, agreed on the span": at(
        (agreed("span", low, t) for low in (0.02, 0.05, 0.1, 0.2) for t in LIMITS), [LIMIT]
    ),
    "the same, agreed on an overlap": at(
        (agreed("overlap", low, t) for low in (0.02, 0.05, 0.1, 0.2) for t in LIMITS), [LIMIT]
    ),
    "alone, each from a score of its own": at(
        (by_model(a, b) for a in (LIMIT, *LIMITS, 1.01) for b in (LIMIT, *LIMITS, 1.01)), [LIMIT]
    ),
    "alone from a higher score, or with the base": at(
        (agreed("base", low, t) for low in (0.02, 0.05, 0.1, 0.2) for t in LIMITS), [LIMIT]
    ),
    "two of three, with the base": at([two_of_three]),
    "mean of three, with the base": at([mean_of_three]),
    "mean of log-odds, with the base": at(mean_log_odds(w) for w in (0.25, 0.5, 1.0)),
    "the one surer in sum": at((surer(confidence, m) for m in (0, 0.1, 0.2, 0.4)), [LIMIT]),
    "the one surer on average": at((surer(mean_confidence, m) for m in (0, 0.05, 0.1, 0.2)), [LIMIT]),
    "the one closer to the base": at((surer(agreement_with_base, m) for m in (0, 0.05, 0.1, 0.2)), [LIMIT]),
}


def logistic(with_base: bool, known: Sequence[Candidates]) -> Rule:
    """Logistic regression of rightness on scores and agreement; every data set counts the same."""

    def features(c: Candidates) -> np.ndarray:
        one, other = both(c)
        columns = [log_odds(one), log_odds(other), (one >= other).astype(float), (lowest(c) > 0).astype(float)]
        columns += [np.maximum(*(log_odds(values) for values in c.overlap.values()))]
        columns += [log_odds(c.flat["base"]), (c.flat["base"] > 0).astype(float)] if with_base else []
        return np.stack(columns, axis=1)

    def found(c: Candidates) -> np.ndarray:
        return highest(c) > 0

    x = np.concatenate([features(c)[found(c)] for c in known])
    y = np.concatenate([c.right[found(c)] for c in known])
    weight = np.concatenate([np.full(found(c).sum(), 1 / max(found(c).sum(), 1)) for c in known])
    fitted = LogisticRegression(C=1e3, max_iter=1000).fit(x, y, weight * len(x) / weight.sum())
    return lambda c: np.where(found(c), fitted.predict_proba(features(c))[:, 1], 0)


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


SHARES = tuple(np.arange(0.02, 0.6, 0.02).round(2).tolist())
"""Thresholds of what learned rules give, which are shares of right entities: low where few are right."""
LEARNED: dict[str, Callable[[Sequence[Candidates]], Rule]] = {
    "logistic regression": partial(logistic, False),
    "logistic regression, with the base": partial(logistic, True),
    "isotonic curves": isotonic,
}


# -- what they give ---------------------------------------------------------------------------------------------------


def average(known: Sequence[Candidates], values: Iterable[float]) -> dict[str, float]:
    """Mean of each domain's data sets."""
    by_domain: dict[str, list[float]] = {}
    for c, value in zip(known, values, strict=True):
        by_domain.setdefault(c.target.domain, []).append(value)
    return {domain: float(np.mean(its)) for domain, its in by_domain.items()}


def nested(settings: Sequence[Setting], every: Sequence[Candidates]) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each target with the setting that is best on the other domains, and with the best on all."""
    table = np.array([[c.f1(rule(c), threshold) for c in every] for rule, threshold in settings])

    def best(places: Sequence[int]) -> int:
        its = [every[i] for i in places]
        return int(np.argmax([np.mean([*average(its, row[places]).values()]) for row in table]))

    chosen = []
    for i, c in enumerate(every):
        others = [j for j, other in enumerate(every) if other.target.domain != c.target.domain]
        chosen.append(table[best(others), i])
    return np.array(chosen), table[best(range(len(every)))]


def learned(fit: Callable[[Sequence[Candidates]], Rule], every: Sequence[Candidates]) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each target by what the other domains taught, threshold and all, and by what all taught."""

    def taught(known: Sequence[Candidates]) -> Setting:
        rule = fit(known)
        means = [
            np.mean([*average(known, [c.f1(rule(c), threshold) for c in known]).values()]) for threshold in SHARES
        ]
        return rule, SHARES[int(np.argmax(means))]

    values = {}
    for domain in {c.target.domain for c in every}:
        values[domain] = taught([c for c in every if c.target.domain != domain])
    of_all, threshold = taught(every)
    chosen = [c.f1(values[c.target.domain][0](c), values[c.target.domain][1]) for c in every]
    return np.array(chosen), np.array([c.f1(of_all(c), threshold) for c in every])


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
    sets = list(dict.fromkeys(c.target.name for c in every))
    yield f"| rule | best setting on all | nested | gain over the union as it is | {' | '.join(names)} |"
    yield "|---|---:|---:|---:|" + "---:|" * len(names)
    results = {name: partial(nested, settings) for name, settings in RULES.items()}
    results |= {name: partial(learned, fit) for name, fit in LEARNED.items()}
    first: np.ndarray | None = None
    for name, result in results.items():
        chosen, best = result(every)
        first = chosen if first is None else first
        gains = np.array(
            [np.mean([g for g, c in zip(chosen - first, every, strict=True) if c.target.name == n]) for n in sets]
        )
        low, high = interval(gains)
        means = average(every, chosen)
        cells = [f"{np.mean([*average(every, best).values()]):.1f}", f"{np.mean([*means.values()]):.1f}"]
        cells += [f"{gains.mean():+.1f} [{low:+.1f}, {high:+.1f}]", *(f"{means[n]:.1f}" for n in names)]
        yield f"| {name} | {' | '.join(cells)} |"


def in_turn(targets: Sequence[Target]) -> list[Target]:
    """A data set of each domain after the other, so that a run cut short has something of each."""
    domains = [list(its) for _, its in itertools.groupby(targets, key=lambda t: t.domain)]
    return [target for row in itertools.zip_longest(*domains) for target in row if target]


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--cache", type=Path, default=Path("runs/combining.sqlite"))
    parser.add_argument("--domains", nargs="*", help="domains to leave out in turn; all with an expert by default")
    parser.add_argument("--texts", type=int, default=50, help="dev texts of each data set to score on")
    parser.add_argument("--experts", default=3, type=lambda given: given if given == "auto" else int(given))
    parser.add_argument("--seeds", type=int, default=1, help="how many draws of sample texts")
    parser.add_argument("--kept", action="store_true", help="report on what is on disk; ask nothing")
    parser.add_argument("--settings", type=Path, default=POOL_DATA)
    arguments = parser.parse_args()

    pool = ExpertPool.load(arguments.pool)
    known = domains(arguments.settings, arguments.domains)
    known = {name: sets for name, sets in known.items() if name in pool.experts}
    answerer = Answerer(pool, Cache(arguments.cache), arguments.experts)
    targets = in_turn(read_targets(known, Datasets(arguments.data), pool.experts, arguments.texts))
    if arguments.kept:
        targets = [t for t in targets if all(answerer.kept(t, seed) for seed in range(arguments.seeds))]
    if not targets:
        parser.error(f"nothing to report on: no data set of {arguments.pool}'s domains, or none kept")
    every = [Candidates.of(answerer.ask(target, seed)) for target in targets for seed in range(arguments.seeds)]
    for line in itertools.chain(shares(every), report(every)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
