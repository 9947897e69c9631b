"""Compare rules of selection by leave-one-domain-out: each domain's dev splits are targets of the other experts.

    python -m studies.selection_rules src/samner/pools/builtin --data ../shared/data

Every subset of the experts left is merged once and reads every data set once; answers are kept on disk by content, so
that a second run, with other rules, takes a minute. Prints strict span micro-F1, averaged over each domain's
data sets and over the domains. No target's test set is read. Only the experts are left out: where the base was taught
the hidden domain too, which the built-in one was not, a target is easier than a new domain and fewer experts look
better than they are.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from samner.adaptation import merge_experts, merge_parameters
from samner.backbones import BASE
from samner.cache import Cache
from samner.cli.output import guarded
from samner.embedding import embed_names
from samner.entities import Entity, EntityType, Example, shown_score
from samner.files import sha256
from samner.pool import ExpertCard, ExpertPool
from samner.recogniser import combine
from samner.scoring import span_counts, total
from samner.selection import Selection, select_by_sampling, select_by_similarity
from samner.spans import flat
from samner.words import Word
from studies import selection_signals as signals
from studies.training_data import POOL_DATA, Datasets, domains

WORDS = 40
"""Longer texts are left out where enough others are there: they take most of the time and say little more."""
SEEDS = range(5)
FAINT = 0.05
"""Score of a claim from which it is looked at, where scores are compared and not answers."""

Answers = list[list[Entity]]
Subset = tuple[str, ...]
Scores = dict[str, float]


@dataclass(frozen=True)
class Target:
    """A dev split: the texts to score on, those to adapt to, and the experts that may be chosen."""

    domain: str
    name: str
    types: tuple[EntityType, ...]
    gold: Sequence[Example]
    unlabelled: Sequence[str]
    experts: Subset

    @property
    def texts(self) -> list[str]:
        return [example.text for example in self.gold]


def read_targets(
    domains: Mapping[str, Iterable[str]], data: Datasets, experts: Iterable[str], texts: int
) -> list[Target]:
    """Each domain's dev splits, without the longest texts: the last ones to score on, the first ones to adapt to."""
    targets = []
    for domain, names in domains.items():
        for name in names:
            types, dev = data.types(name), data.examples(name, "dev")
            known = {t.name for t in types}
            short = [e for e in dev if len(e.text.split()) <= WORDS]
            dev = short if len(short) >= texts else sorted(dev, key=lambda e: len(e.text))[:texts]
            gold = [Example(e.text, tuple(x for x in e.entities if x.label in known)) for e in dev[-texts:]]
            left = tuple(e for e in experts if e != domain)
            targets.append(Target(domain, name, types, gold, [e.text for e in dev[: 2 * texts]], left))
    return targets


class Answerer:
    """Answers of models to texts, each kept by everything that decides it."""

    def __init__(self, pool: ExpertPool, cache: Cache) -> None:
        self.pool = pool
        self.cache = cache
        self.digests = {name: card.files for name, card in pool.experts.items()}
        # base.json says what counts as found
        self.base = [pool.backbone.fingerprint, sha256(pool.base_folder / "base.json")]

    def merged(self, weights: Mapping[str, float], targets: Sequence[Target]) -> list[Answers]:
        """The answers of one merge, by the default method, to several targets; without experts those of the base."""
        parameters = merge_parameters(self.pool, "ties", {})
        asked = ["merge", {name: [self.digests[name], weight] for name, weight in weights.items()}, parameters]
        threshold = self.pool.backbone.threshold
        merged = None
        found = []
        for target in targets:
            key = self._key(asked, target, target.texts, threshold)
            if self.cache.get("found", key) is None:
                merged = merged or (merge_experts(self.pool, weights, "ties", parameters) if weights else None)
                self._ask(target, target.texts, {merged.model if merged else BASE: key}, threshold)
            found.append(self._read(key))
        return found

    def alone(self, target: Target, texts: Sequence[str]) -> dict[str, Answers]:
        """What the base and every expert that is left claim by themselves, with any score that is not negligible."""
        keys = {
            name: self._key(["alone", self.digests.get(name, name)], target, texts, FAINT)
            for name in (BASE, *target.experts)
        }
        if new := [name for name, key in keys.items() if self.cache.get("found", key) is None]:
            self.pool.load_experts(name for name in new if name != BASE)
            self._ask(target, texts, {name: keys[name] for name in new}, FAINT)
        return {name: self._read(key) for name, key in keys.items()}

    def experts(self, target: Target, texts: Sequence[str]) -> dict[str, Answers]:
        """The answers of every expert that is left, by itself."""
        claims = self.alone(target, texts)
        threshold = self.pool.backbone.threshold  # what it finds, a lower one finds with the same score
        return {name: [[e for e in its if e.score >= threshold] for its in claims[name]] for name in target.experts}

    def activations(self, target: Target) -> dict[str, list[tuple[float, float]]]:
        """See ``studies.selection_signals.activations``; of the texts to adapt to."""
        digests = {name: self.digests[name] for name in target.experts}
        key = self._key(["activations", digests], target, target.unlabelled, 1.0)
        if (kept := self.cache.get("activations", key)) is None:
            adapters = {name: self.pool.adapter(name) for name in target.experts}
            kept = signals.activations(self.pool.backbone, adapters, target.unlabelled, target.types)
            self.cache.put("activations", key, kept)
        return dict(kept)

    def _key(self, asked: list[object], target: Target, texts: Sequence[str], threshold: float) -> list[object]:
        return [self.base, asked, threshold, [t.prompt for t in target.types], list(texts)]

    def _ask(self, target: Target, texts: Sequence[str], keys: Mapping[str, list[object]], threshold: float) -> None:
        """Ask models in one go, and keep what each answers under its key."""
        answers = self.pool.backbone.predict(texts, target.types, list(keys), threshold)
        for model, key in keys.items():
            found = [[[e.start, e.end, e.label, shown_score(e.score)] for e in es] for es in answers[model]]
            self.cache.put("found", key, found)

    def _read(self, key: list[object]) -> Answers:
        return [[Entity(*e) for e in entities] for entities in self.cache.get("found", key) or []]


class Recorded:
    """Answers with the experts' kept answers, in the place of a backbone."""

    max_tokens = 1

    def __init__(self, texts: Sequence[str], answers: Mapping[str, Answers], threshold: float) -> None:
        self.threshold = threshold
        self.found = {name: dict(zip(texts, entities, strict=True)) for name, entities in answers.items()}

    def words(self, texts: Sequence[str]) -> list[tuple[Word, ...]]:
        return [(Word(0, len(text), 1),) for text in texts]

    def predict(self, texts: Sequence[str], types: object, models: Sequence[str], threshold: float) -> object:
        return {model: [self.found[model][text] for text in texts] for model in models}


@dataclass
class Table:
    """A target with the F1 of whatever a rule may choose."""

    target: Target
    cards: Mapping[str, ExpertCard]
    answers: Answerer
    definitions: Mapping[str, str] = field(default_factory=dict)
    kept: dict[Subset, Answers] = field(default_factory=dict)
    joined: dict[Subset, float] = field(default_factory=dict)
    sampled: dict[tuple[int, int | str], Selection] = field(default_factory=dict)
    samples: dict[int, tuple[list[str], signals.Floats]] = field(default_factory=dict)

    def found(self, subset: Subset) -> Answers:
        """What the merge of some experts finds."""
        if subset not in self.kept:
            self.kept[subset] = self.answers.merged(dict.fromkeys(subset, 1.0), [self.target])[0]
        return self.kept[subset]

    @cached_property
    def f1(self) -> dict[Subset, float]:
        """Of the merge of each subset of experts."""
        return {s: f1(self.target, [flat(e) for e in self.found(s)]) for s in subsets(self.target.experts)}

    def weighted(self, weights: Mapping[str, float]) -> float:
        """F1 of a merge with weights."""
        return f1(self.target, [flat(e) for e in self.answers.merged(weights, [self.target])[0]])

    def union(self, one: Subset, other: Subset) -> float:
        key = (*one, "|", *other)
        if key not in self.joined:
            pairs = zip(self.found(one), self.found(other), strict=True)
            self.joined[key] = f1(self.target, [combine({"a": a, "b": b}) for a, b in pairs])
        return self.joined[key]

    @cached_property
    def similarity(self) -> Selection:
        left = {name: self.cards[name] for name in self.target.experts}
        return select_by_similarity(left, self.target.unlabelled, 1)

    @cached_property
    def recorded(self) -> Recorded:
        target = self.target
        answers = self.answers.experts(target, target.unlabelled)
        return Recorded(target.unlabelled, answers, self.answers.pool.backbone.threshold)

    @cached_property
    def type_similarity(self) -> dict[str, np.ndarray]:
        """For each expert, the cosine of each of the target's types with the one most like it among the expert's."""
        types = embed_names([t.prompt for t in self.target.types])
        return {name: (types @ embed_names(self.cards[name].types).T).max(axis=1) for name in self.target.experts}

    @cached_property
    def type_similarity_defined(self) -> Scores:
        """The mean of the same, where types are told by their definitions, too, if they have one."""
        types = embed_names(signals.described((t.name for t in self.target.types), self.definitions))
        known = {name: signals.described(self.cards[name].types, self.definitions) for name in self.target.experts}
        return {name: float((types @ embed_names(its).T).max(axis=1).mean()) for name, its in known.items()}

    @cached_property
    def activations(self) -> dict[str, tuple[float, float]]:
        """Of each expert, averaged over the texts to adapt to: at the last query, and of all layers by size."""
        found = self.answers.activations(self.target)
        return {name: tuple(np.mean(values, axis=0).tolist()) for name, values in found.items()}

    @cached_property
    def claimed(self) -> dict[str, Answers]:
        return self.answers.alone(self.target, self.target.unlabelled)

    def claims(self, seed: int) -> tuple[list[str], signals.Floats]:
        """What the base and each expert claim in the sample: their names, and their scores; see ``signals.claims``."""
        if seed not in self.samples:
            places = self.sampling(seed).sample
            self.samples[seed] = signals.claims({n: [its[i] for i in places] for n, its in self.claimed.items()})
        return self.samples[seed]

    def sampling(self, seed: int, count: int | str = 1) -> Selection:
        if (seed, count) not in self.sampled:
            given = self.recorded, self.similarity.cosine, self.target.unlabelled, self.target.types
            self.sampled[seed, count] = select_by_sampling(*given, seed=seed, count=count)  # type: ignore
        return self.sampled[seed, count]

    def votes(self, seed: int) -> dict[str, dict[tuple[int, int, int, str], float]]:
        """What each expert finds in the sample, with its scores."""
        sample = [self.target.unlabelled[place] for place in self.sampling(seed).sample]
        found = self.recorded.predict(sample, None, self.target.experts, 0)
        return {
            name: {(i, *e.key): e.score for i, entities in enumerate(answers) for e in flat(entities)}
            for name, answers in found.items()  # type: ignore
        }


def f1(target: Target, answers: Answers, part: slice = slice(None)) -> float:
    """Strict micro-F1, of all texts or of part of them."""
    return 100 * total(span_counts([e.entities for e in target.gold[part]], answers[part])).f1


def subsets(names: Sequence[str]) -> list[Subset]:
    return [subset for k in range(len(names) + 1) for subset in itertools.combinations(names, k)]


# -- rules: from a table and a seed to the experts chosen by similarity and by sampling -------------------------------

Rule = Callable[[Table, int], tuple[Subset, Subset]]


def shipped(count: int | str) -> Rule:
    def rule(table: Table, seed: int) -> tuple[Subset, Subset]:
        left = {name: table.cards[name] for name in table.target.experts}
        similar = select_by_similarity(left, table.target.unlabelled, count)  # type: ignore
        return similar.chosen, table.sampling(seed, count).chosen

    return rule


def ranked(
    similarity: Callable[[Table], Scores] | None = None, sampling: Callable[[Table, int], Scores] | None = None
) -> Rule:
    """Three experts by other scores than cosine and F1."""

    def best(table: Table, scores: Scores) -> Subset:
        cosine = table.similarity.cosine
        return tuple(sorted(scores, key=lambda name: (-scores[name], -cosine[name], name))[:3])

    def rule(table: Table, seed: int) -> tuple[Subset, Subset]:
        by_similarity = similarity(table) if similarity else dict(table.similarity.cosine)
        by_sampling = sampling(table, seed) if sampling else dict(table.sampling(seed).f1)
        return best(table, by_similarity), best(table, by_sampling)

    return rule


def close(most: int, share: float) -> Rule:
    """The best expert and others, ``most`` in all, whose score is at least a share of its score."""

    def best(selection: Selection, score: Mapping[str, float]) -> Subset:
        ranking = selection.ranking[:most]
        return (ranking[0], *(name for name in ranking[1:] if score[name] >= share * score[ranking[0]] > 0))

    def rule(table: Table, seed: int) -> tuple[Subset, Subset]:
        similar, sampled = table.similarity, table.sampling(seed)
        return best(similar, similar.cosine), best(sampled, sampled.f1)

    return rule


def type_scores(table: Table) -> Scores:
    return {name: float(values.mean()) for name, values in table.type_similarity.items()}


def with_types(table: Table) -> Scores:
    return {name: table.similarity.cosine[name] + value for name, value in type_scores(table).items()}


def knows_a_type(score: Mapping[str, float], table: Table) -> Scores:
    """Experts that know nothing like any of the types come last."""
    return {n: value - 10 * (table.type_similarity[n].max() < 0.5) for n, value in score.items()}


def against_others(table: Table, seed: int, *, beta: float = 1.0, own: bool = False) -> Scores:
    """F-beta against what most experts predict, an expert's own vote counted or not."""
    votes = table.votes(seed)
    voters: dict[tuple[int, int, int, str], set[str]] = {}
    for name, found in votes.items():
        for key in found:
            voters.setdefault(key, set()).add(name)
    result = {}
    for name, found in votes.items():
        mine = set() if own else {name}
        needed = (len(votes) - len(mine)) // 2 + 1
        gold = {key for key, by in voters.items() if len(by - mine) >= needed}
        gold = gold or {key for key, by in voters.items() if len(by - mine) >= 2}
        below = beta**2 * len(gold) + len(found)
        result[name] = (1 + beta**2) * len(gold & found.keys()) / below if below else 0.0
    return result


def support(table: Table, seed: int) -> Scores:
    """Confidence in what others support: over an expert's entities, its score times the sum of all experts' scores."""
    votes = table.votes(seed)
    together: dict[tuple[int, int, int, str], float] = {}
    for found in votes.values():
        for key, score in found.items():
            together[key] = together.get(key, 0.0) + score
    return {name: sum(score * together[key] for key, score in found.items()) for name, found in votes.items()}


def confidence(table: Table, seed: int) -> Scores:
    return {name: sum(found.values()) for name, found in table.votes(seed).items()}


def cosine(table: Table) -> Scores:
    return dict(table.similarity.cosine)


def defined_types(table: Table) -> Scores:
    return table.type_similarity_defined


def logo(table: Table) -> Scores:
    return {name: norm for name, (norm, _) in table.activations.items()}


def logo_by_size(table: Table) -> Scores:
    return {name: share for name, (_, share) in table.activations.items()}


def majority(table: Table, seed: int) -> Scores:
    return dict(table.sampling(seed).f1)


def near_consensus(table: Table, seed: int) -> Scores:
    return {name: -value for name, value in signals.far_from_consensus(*table.claims(seed)).items()}


def far_from_base(table: Table, seed: int) -> Scores:
    return signals.far_from_base(*table.claims(seed))


def sure(table: Table, seed: int) -> Scores:
    return {name: -value for name, value in signals.unsure(*table.claims(seed)).items()}


def texts_by_place(*others: Callable[[Table], Scores]) -> Callable[[Table], Scores]:
    """The mean place by texts and by other signals."""
    return lambda table: signals.mean_place(cosine(table), *(other(table) for other in others))


def majority_by_place(*others: Callable[[Table, int], Scores]) -> Callable[[Table, int], Scores]:
    """The mean place by F1 against the majority and by other signals."""
    return lambda table, seed: signals.mean_place(majority(table, seed), *(other(table, seed) for other in others))


RULES: dict[str, Rule] = {
    "majority, 3 experts (the paper's)": shipped(3),
    **{f"majority, {k}": shipped(k) for k in (1, 2, 4)},
    "majority, auto": shipped("auto"),
    **{
        f"majority, up to {k}, {share} of the best": close(k, share)
        for k in (3, 4, 5)
        for share in (0.2, 0.3, 0.5, 0.8)
    },
    "types in place of texts, 3": ranked(type_scores),
    "types and texts, 3": ranked(with_types),
    "without experts that know no type, 3": ranked(
        lambda t: knows_a_type(t.similarity.cosine, t), lambda t, seed: knows_a_type(t.sampling(seed).f1, t)
    ),
    "own vote not counted, 3": ranked(sampling=against_others),
    "recall counts twice, 3": ranked(sampling=partial(against_others, beta=2.0, own=True)),
    "soft votes, 3": ranked(sampling=support),
    "sum of own scores, 3": ranked(sampling=confidence),
    "types with definitions in place of texts, 3": ranked(defined_types),
    "LoGo's norm in place of texts, 3": ranked(logo),
    "LoGo's norm of all layers, by size, in place of texts, 3": ranked(logo_by_size),
    "nearest to all experts' scores, 3": ranked(sampling=near_consensus),
    "farthest from the base's scores, 3": ranked(sampling=far_from_base),
    "surest of its claims, 3": ranked(sampling=sure),
    "texts and types with definitions, mean place, 3": ranked(texts_by_place(defined_types)),
    "texts and LoGo, mean place, 3": ranked(texts_by_place(logo)),
    "texts and LoGo by size, mean place, 3": ranked(texts_by_place(logo_by_size)),
    "majority and nearest to all, mean place, 3": ranked(sampling=majority_by_place(near_consensus)),
    "majority and farthest from the base, mean place, 3": ranked(sampling=majority_by_place(far_from_base)),
    "majority and surest, mean place, 3": ranked(sampling=majority_by_place(sure)),
    "texts, types with definitions and LoGo by size; majority, nearest to all and surest; mean place, 3": ranked(
        texts_by_place(defined_types, logo_by_size), majority_by_place(near_consensus, sure)
    ),
}

SIGNALS: dict[str, Callable[[Table, int], Scores]] = {
    "texts (cosine)": lambda table, seed: cosine(table),
    "majority (F1)": majority,
    "types": lambda table, seed: type_scores(table),
    "types with definitions": lambda table, seed: defined_types(table),
    "LoGo's norm": lambda table, seed: logo(table),
    "LoGo's norm of all layers, by size": lambda table, seed: logo_by_size(table),
    "nearest to all experts' scores": near_consensus,
    "farthest from the base's scores": far_from_base,
    "surest of its claims": sure,
    "sum of own scores": confidence,
}
"""What ranks experts, the best highest."""


# -- what they give ---------------------------------------------------------------------------------------------------


def outcome(rule: Rule, table: Table) -> tuple[list[float], float]:
    """F1 of similarity, sampling, union and the merge of all picked, and experts per merge, averaged over seeds."""
    rows, sizes = [], []
    for seed in SEEDS:
        one, other = (tuple(sorted(chosen)) for chosen in rule(table, seed))
        every = tuple(sorted({*one, *other}))
        rows.append([table.f1[one], table.f1[other], table.union(one, other), table.f1[every]])
        sizes.append((len(one) + len(other)) / 2)
    return list(np.mean(rows, axis=0)), float(np.mean(sizes))


def average(tables: Sequence[Table], values: Iterable[float]) -> float:
    by_domain: dict[str, list[float]] = {}
    for table, value in zip(tables, values, strict=True):
        by_domain.setdefault(table.target.domain, []).append(value)
    return float(np.mean([np.mean(v) for v in by_domain.values()]))


def weighted(table: Table, scores: Mapping[str, float]) -> float:
    """F1 of the three experts of highest score, merged by their scores."""
    chosen = sorted(scores, key=lambda name: (-scores[name], name))[:3]
    return table.weighted({name: round(max(scores[name], 0.01), 3) for name in sorted(chosen)})


def adds(table: Table) -> Scores:
    """What each expert adds: the mean F1 of the merges of three that it is in less that of the others."""
    threes = {subset: value for subset, value in table.f1.items() if len(subset) == 3}
    return {
        name: float(
            np.mean([v for s, v in threes.items() if name in s])
            - np.mean([v for s, v in threes.items() if name not in s])
        )
        for name in table.target.experts
    }


def by_half(table: Table) -> float:
    """F1 of the subset that is best by the labels of every other text, on the texts between; both ways."""
    values = []
    for part in (0, 1):
        here = {s: f1(table.target, [flat(e) for e in table.found(s)], slice(part, None, 2)) for s in table.f1}
        best = max(here, key=lambda s: (here[s], table.target.experts, s))
        values.append(f1(table.target, [flat(e) for e in table.found(best)], slice(1 - part, None, 2)))
    return float(np.mean(values))


def report(tables: Sequence[Table]) -> Iterator[str]:
    """Markdown: what there is to choose from, then the rules with their gain over the first."""
    yield "| | F1 |\n|---|---:|"
    yield f"| base alone | {average(tables, [t.f1[()] for t in tables]):.2f} |"
    for k in range(1, 1 + min(len(t.target.experts) for t in tables)):
        some = [[v for s, v in t.f1.items() if len(s) == k] for t in tables]
        mean, best = average(tables, map(np.mean, some)), average(tables, map(max, some))
        yield f"| {k} experts: any, best (oracle) | {mean:.2f}, {best:.2f} |"
    yield f"| best subset of each data set (oracle) | {average(tables, [max(t.f1.values()) for t in tables]):.2f} |"
    equal = [t.f1[tuple(sorted(t.similarity.ranking[:3]))] for t in tables]
    yield f"| three most similar, equal weights | {average(tables, equal):.2f} |"
    similar = [weighted(t, t.similarity.cosine) for t in tables]
    yield f"| the same weighted by similarity | {average(tables, similar):.2f} |"
    by_norm = [weighted(t, logo(t)) for t in tables]
    yield f"| three of highest LoGo's norm, weighted by it | {average(tables, by_norm):.2f} |"
    value = average(tables, map(by_half, tables))
    yield f"| best subset by the labels of half of the texts, on the other half | {value:.2f} |"
    yield "\n| signal | rank correlation with what an expert adds |\n|---|---:|"
    worth = [adds(t) for t in tables]
    for name, signal in SIGNALS.items():
        values = np.array(
            [
                np.mean([signals.rank_correlation(w, signal(t, seed)) for seed in SEEDS])
                for t, w in zip(tables, worth, strict=True)
            ]
        )
        low, high = interval(values)
        yield f"| {name} | {values.mean():+.2f} [{low:+.2f}, {high:+.2f}] |"
    yield "\n| rule | similarity | sampling | union | one merge of all picked | experts | union gains | regret |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    oracle = average(tables, [max(t.f1.values()) for t in tables])
    unions: dict[str, np.ndarray] = {}
    for name, rule in RULES.items():
        results = [outcome(rule, table) for table in tables]
        columns = [average(tables, [scores[i] for scores, _ in results]) for i in range(4)]
        unions[name] = union = np.array([scores[2] for scores, _ in results])
        first = next(iter(unions.values()))
        low, high = interval(union - first)
        cells = [*(f"{c:.2f}" for c in columns), f"{np.mean([size for _, size in results]):.1f}"]
        gain = f"{np.mean(union - first):+.2f} [{low:+.2f}, {high:+.2f}]"
        yield f"| {name} | {' | '.join(cells)} | {gain} | {oracle - columns[2]:.2f} |"
    chosen, nested = choose([t.target.domain for t in tables], unions)
    value = average(tables, nested)
    low, high = interval(nested - first)
    gain = f"{np.mean(nested - first):+.2f} [{low:+.2f}, {high:+.2f}]"
    yield f"| each domain by the best rule of the others | | | {value:.2f} | | | {gain} | {oracle - value:.2f} |"
    yield f"\nChosen: {', '.join(f'{rule} ({domain})' for domain, rule in chosen.items())}."


def choose(domain: Sequence[str], scores: Mapping[str, np.ndarray]) -> tuple[dict[str, str], np.ndarray]:
    """For each domain the rule of the highest mean over the other domains, and what it has on that one's data sets."""
    names = np.array(domain)
    chosen = {}
    had = np.zeros(len(names))
    for hidden in dict.fromkeys(domain):
        others = [names == other for other in dict.fromkeys(domain) if other != hidden]
        chosen[hidden] = max(scores, key=lambda rule: float(np.mean([scores[rule][its].mean() for its in others])))
        had[names == hidden] = scores[chosen[hidden]][names == hidden]
    return chosen, had


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over data sets."""
    rng = np.random.default_rng(0)
    means = [gains[rng.integers(len(gains), size=len(gains))].mean() for _ in range(2000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def study(doc: str | None, cache: str, texts: int) -> argparse.ArgumentParser:
    """The arguments of a study that leaves out one domain of a pool after the other."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--cache", type=Path, default=Path(cache))
    parser.add_argument("--domains", nargs="*", help="domains to leave out in turn; all with an expert by default")
    parser.add_argument("--texts", type=int, default=texts, help="dev texts of each data set to score on")
    parser.add_argument("--settings", type=Path, default=POOL_DATA)
    return parser


def asked(arguments: argparse.Namespace) -> tuple[ExpertPool, list[Target]]:
    """The pool that is asked for, and the data sets of its domains."""
    pool = ExpertPool.load(arguments.pool)
    cards = pool.experts
    known = {n: sets for n, sets in domains(arguments.settings, arguments.domains).items() if n in cards}
    return pool, read_targets(known, Datasets(arguments.data), cards, arguments.texts)


@guarded()
def main() -> None:
    arguments = study(__doc__, cache="runs/selection.sqlite", texts=60).parse_args()
    pool, targets = asked(arguments)
    answers, cards = Answerer(pool, Cache(arguments.cache)), pool.experts
    for subset in subsets(list(cards)):  # each is merged once for all data sets that it may be chosen for
        answers.merged(dict.fromkeys(subset, 1.0), [t for t in targets if set(subset) <= set(t.experts)])

    definitions = signals.defined(arguments.data / "types" / "descriptions.json")
    for line in report([Table(target, cards, answers, definitions) for target in targets]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
