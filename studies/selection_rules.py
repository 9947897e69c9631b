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
from samner.embedding import sentence_encoder
from samner.entities import Entity, EntityType, Example
from samner.files import sha256
from samner.pool import ExpertCard, ExpertPool
from samner.recogniser import combine
from samner.scoring import span_counts, total
from samner.selection import Selection, select_by_sampling, select_by_similarity
from samner.spans import flat
from samner.words import Word
from studies.training_data import POOL_DATA, Datasets, domains

WORDS = 40
"""Longer texts are left out where enough others are there: they take most of the time and say little more."""
SEEDS = range(5)

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
        merged = None
        found = []
        for target in targets:
            key = self._key(asked, target, target.texts)
            if self.cache.get("answers", key) is None:
                merged = merged or (merge_experts(self.pool, weights, "ties", parameters) if weights else None)
                self._ask(key, target, target.texts, [merged.model if merged else BASE])
            found += self._read(key)
        return found

    def experts(self, target: Target) -> dict[str, Answers]:
        """The answers of every expert that is left to the texts to adapt to."""
        names = list(target.experts)
        key = self._key(["experts", [[name, self.digests[name]] for name in names]], target, target.unlabelled)
        if self.cache.get("answers", key) is None:
            self.pool.load_experts(names)
            self._ask(key, target, target.unlabelled, names)
        return dict(zip(names, self._read(key), strict=True))

    def _key(self, asked: list[object], target: Target, texts: Sequence[str]) -> list[object]:
        threshold = self.pool.backbone.threshold
        return [self.base, asked, threshold, [t.prompt for t in target.types], list(texts)]

    def _ask(self, key: list[object], target: Target, texts: Sequence[str], models: Sequence[str]) -> None:
        answers = self.pool.backbone.predict(texts, target.types, models, self.pool.backbone.threshold)
        values = [
            [[[e.start, e.end, e.label, round(e.score, 4)] for e in entities] for entities in answers[model]]
            for model in models
        ]
        self.cache.put("answers", key, values)

    def _read(self, key: list[object]) -> list[Answers]:
        kept = self.cache.get("answers", key) or []
        return [[[Entity(*e) for e in entities] for entities in found] for found in kept]


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
    weighted: Callable[[Mapping[str, float]], float]
    joined: dict[Subset, float] = field(default_factory=dict)

    @cached_property
    def found(self) -> dict[Subset, Answers]:
        """What the merge of each subset of experts finds."""
        every = subsets(self.target.experts)
        return {s: self.answers.merged(dict.fromkeys(s, 1.0), [self.target])[0] for s in every}

    @cached_property
    def f1(self) -> dict[Subset, float]:
        return {subset: f1(self.target, [flat(e) for e in answers]) for subset, answers in self.found.items()}

    def union(self, one: Subset, other: Subset) -> float:
        key = (*one, "|", *other)
        if key not in self.joined:
            pairs = zip(self.found[one], self.found[other], strict=True)
            self.joined[key] = f1(self.target, [combine({"a": a, "b": b}) for a, b in pairs])
        return self.joined[key]

    @cached_property
    def similarity(self) -> Selection:
        left = {name: self.cards[name] for name in self.target.experts}
        return select_by_similarity(left, self.target.unlabelled, 1)

    @cached_property
    def recorded(self) -> Recorded:
        return Recorded(
            self.target.unlabelled, self.answers.experts(self.target), self.answers.pool.backbone.threshold
        )

    @cached_property
    def type_similarity(self) -> dict[str, np.ndarray]:
        """For each expert, the cosine of each of the target's types with the one most like it among the expert's."""
        encode = sentence_encoder().encode
        types = encode([t.prompt for t in self.target.types])
        return {name: (types @ encode(list(self.cards[name].types)).T).max(axis=1) for name in self.target.experts}

    def sampling(self, seed: int, count: int | str = 1) -> Selection:
        cosine, target = self.similarity.cosine, self.target
        options = {"seed": seed, "count": count}
        return select_by_sampling(self.recorded, cosine, target.unlabelled, target.types, **options)  # type: ignore

    def votes(self, seed: int) -> dict[str, dict[tuple[int, int, int, str], float]]:
        """What each expert finds in the sample, with its scores."""
        sample = [self.target.unlabelled[place] for place in self.sampling(seed).sample]
        found = self.recorded.predict(sample, None, self.target.experts, 0)
        return {
            name: {(i, *e.key): e.score for i, entities in enumerate(answers) for e in flat(entities)}
            for name, answers in found.items()  # type: ignore
        }


def f1(target: Target, answers: Answers) -> float:
    return 100 * total(span_counts([e.entities for e in target.gold], answers)).f1


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
}


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


def weighted(table: Table) -> float:
    """F1 of the three most similar experts merged by their cosines."""
    chosen = table.similarity.ranking[:3]
    return table.weighted({name: round(max(table.similarity.cosine[name], 0.01), 3) for name in sorted(chosen)})


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
    yield f"| the same weighted by similarity | {average(tables, [weighted(t) for t in tables]):.2f} |"
    yield "\n| rule | similarity | sampling | union | one merge of all picked | experts | union gains | regret |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    oracle = average(tables, [max(t.f1.values()) for t in tables])
    first: np.ndarray | None = None
    for name, rule in RULES.items():
        results = [outcome(rule, table) for table in tables]
        columns = [average(tables, [scores[i] for scores, _ in results]) for i in range(4)]
        union = np.array([scores[2] for scores, _ in results])
        first = union if first is None else first
        low, high = interval(union - first)
        cells = [*(f"{c:.2f}" for c in columns), f"{np.mean([size for _, size in results]):.1f}"]
        gain = f"{np.mean(union - first):+.2f} [{low:+.2f}, {high:+.2f}]"
        yield f"| {name} | {' | '.join(cells)} | {gain} | {oracle - columns[2]:.2f} |"


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over data sets."""
    rng = np.random.default_rng(0)
    means = [gains[rng.integers(len(gains), size=len(gains))].mean() for _ in range(2000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--cache", type=Path, default=Path("runs/selection.sqlite"))
    parser.add_argument("--domains", nargs="*", help="domains to leave out in turn; all by default")
    parser.add_argument("--texts", type=int, default=60, help="dev texts of each data set to score on")
    parser.add_argument("--settings", type=Path, default=POOL_DATA)
    arguments = parser.parse_args()

    pool = ExpertPool.load(arguments.pool)
    answers, cards = Answerer(pool, Cache(arguments.cache)), pool.experts
    known = domains(arguments.settings, arguments.domains)
    targets = read_targets(known, Datasets(arguments.data), cards, arguments.texts)
    for _, group in itertools.groupby(targets, key=lambda t: t.domain):
        same = list(group)
        for subset in subsets(same[0].experts):  # each is merged once for all of a domain's data sets
            answers.merged(dict.fromkeys(subset, 1.0), same)

    def tabled(target: Target) -> Table:
        def score(weights: Mapping[str, float]) -> float:
            return f1(target, [flat(e) for e in answers.merged(weights, [target])[0]])

        return Table(target, cards, answers, score)

    for line in report([tabled(target) for target in targets]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
