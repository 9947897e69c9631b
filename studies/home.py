"""When is a target an expert's own domain? The limits of ``samner.selection.home``, nested over domains.

    python -m studies.home src/samner/pools/builtin --data ../shared/data

Each training set's dev texts are a target in three ways: with all experts, where its domain's expert should be asked
alone; the same with its types called otherwise (``paraphrases.yaml``); and with that expert hidden, where nobody is at
home. Wide sets that are near an expert are nobody's home either. So many texts as are given are drawn anew for each
seed; what an expert alone and the union find on other texts says what each decision is worth in strict F1. Limits are
chosen on all domains but one (highest F1) and judged on the targets of that one. Answers are kept on disk by content,
as those of ``studies.selection_rules``. Last come the targets and the wide sets as they look, which choose nothing.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samner.cache import Cache
from samner.cli.output import guarded
from samner.embedding import encode, spread, unit_mean
from samner.entities import Example
from samner.pool import ExpertCard, ExpertPool
from samner.selection import home
from samner.selection.similarity import sentence_encoder_of, type_similarity
from samner.spans import flat
from samner.training import training_set
from studies.selection_rules import Answerer, Table, Target, f1, interval, read_targets, shipped
from studies.training_data import POOL_DATA, Datasets, domains
from studies.wordings import other_wordings, reworded

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NUMBERS = (1, 5, 10, 20, 60)
"""How many texts a target is given by."""
SEEDS = range(10)
KINDS = ("known", "renamed", "hidden", "wide")
NOBODYS = ("hidden", "wide")
"""Kinds of which nobody is at home."""
DRAWN_FROM = 200
"""Texts of a data set, other than those that are scored."""
CHOSEN_BY = 10
"""Texts that the union's experts are chosen by, however many a target is given by: so many as sampling draws."""


class Limits(NamedTuple):
    """What a target at home has at least: the cosines of its texts and of its types, their sum, the lead."""

    both: float
    ahead: float
    texts: float = 0.0
    types: float = 0.0


SHIPPED = Limits(home.BOTH, home.AHEAD)
FORMER = Limits(0.0, 0.1, texts=0.4, types=0.85)
"""What shipped before: a limit on each cosine."""
SUMS = (1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4, 1.45, 1.5)
GRID = [Limits(*values) for values in itertools.product(SUMS, (0.0, 0.05, 0.1, 0.15, 0.2))]
"""Limits that are tried, strictest last."""


@dataclass(frozen=True)
class Cases:
    """Targets as they look by some of their texts, one a place in every array.

    Args:
        domain: Of the target.
        name: Its data set.
        number: How many texts it is given by.
        nearest: The expert of the most similar texts.
        kind: One of ``KINDS``.
        cosine: Of the nearest expert's texts.
        ahead: By how much the next expert's cosine is less.
        types: Mean cosine of its types with those most like them of the nearest expert's.
        others: By how much that is more with those of all experts.
        alone: F1 of the nearest expert alone.
        union: F1 of the union.
    """

    domain: npt.NDArray[np.str_]
    name: npt.NDArray[np.str_]
    number: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]
    cosine: Floats
    ahead: Floats
    types: Floats
    others: Floats
    alone: Floats
    union: Floats

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> Cases:
        return cls(**{field.name: np.array([row[field.name] for row in rows]) for field in fields(cls)})

    def where(self, those: Bools) -> Cases:
        return Cases(**{field.name: getattr(self, field.name)[those] for field in fields(self)})

    def at_home(self, limits: Limits) -> Bools:
        """Which are taken as at home."""
        found: Bools = (self.cosine + self.types >= limits.both) & (self.ahead >= limits.ahead)
        found &= self.others <= home.OTHERS
        return found & (self.cosine >= limits.texts) & (self.types >= limits.types)

    def f1(self, taken: Bools) -> Floats:
        """What is had if those taken as at home are read by the nearest expert alone."""
        return np.where(taken, self.alone, self.union)

    def mean(self, values: npt.ArrayLike) -> float:
        """Over each domain's cases, and over the domains."""
        values = np.asarray(values, dtype=float)
        return float(np.mean([values[self.domain == name].mean() for name in np.unique(self.domain)]))

    def gain(self, taken: Bools, other: Bools) -> tuple[float, float, float]:
        """By how much F1 is more than if others were taken: mean over data sets, and its 95 % bootstrap interval."""
        gains = self.f1(taken) - self.f1(other)
        by_set = np.array([gains[self.name == name].mean() for name in np.unique(self.name)])
        return float(by_set.mean()), *interval(by_set)


def choose(cases: Cases) -> Limits:
    """The limits of highest F1; of equals the strictest."""
    return max(GRID, key=lambda limits: (round(cases.mean(cases.f1(cases.at_home(limits))), 3), limits))


def nested(cases: Cases) -> tuple[dict[str, Limits], Bools]:
    """For each domain the limits chosen on the others, and which cases these take as at home."""
    chosen = {name: choose(cases.where(cases.domain != name)) for name in np.unique(cases.domain).tolist()}
    taken = np.zeros(len(cases.domain), dtype=bool)
    for name, limits in chosen.items():
        taken |= (cases.domain == name) & cases.at_home(limits)
    return chosen, taken


# -- what is measured -------------------------------------------------------------------------------------------------


def looks(
    target: Target, vectors: npt.NDArray[np.float32], cards: Mapping[str, ExpertCard], numbers: Sequence[int] = NUMBERS
) -> list[dict[str, Any]]:
    """How a target looks to those experts that may be asked, by its first texts of each seed's draw.

    Args:
        target: It.
        vectors: Of the texts that may be drawn, a row each.
        cards: Of the experts.
        numbers: How many texts it is given by.
    """
    asked = {name: cards[name] for name in target.experts}
    known = {name: float(type_similarity(target.types, {name: card}).mean()) for name, card in asked.items()}
    by_all = float(type_similarity(target.types, asked).mean())
    experts = np.array([cards[name].embedding for name in target.experts])
    seen = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(vectors))
        for number in numbers:
            cosine = experts @ unit_mean(vectors[order[:number]])
            best, *others = np.argsort(-cosine, kind="stable").tolist()
            nearest = target.experts[best]
            seen.append(
                {
                    "domain": target.domain,
                    "name": target.name,
                    "number": number,
                    "nearest": nearest,
                    "cosine": float(cosine[best]),
                    "ahead": float(cosine[best] - cosine[others[0]]) if others else np.inf,
                    "types": known[nearest],
                    "others": by_all - known[nearest],
                }
            )
    return seen


def worth(
    target: Target, kind: str, seen: Sequence[dict[str, Any]], cards: Mapping[str, ExpertCard], answers: Answerer
) -> Iterator[dict[str, Any]]:
    """What the nearest expert alone is worth, and the union that ``auto`` makes where nobody is at home.

    Args:
        target: Its texts to adapt to are those that the union's experts are chosen by.
        kind: One of ``KINDS``.
        seen: How it looks.
        cards: Of the experts.
        answers: Asks.
    """
    nearest = replace(target, experts=tuple(sorted({row["nearest"] for row in seen})))
    alone = {name: f1(target, list(map(flat, its))) for name, its in answers.experts(nearest, target.texts).items()}
    table = Table(target, cards, answers)
    union = table.union(*(tuple(sorted(chosen)) for chosen in shipped("auto")(table, 0)))
    for row in seen:
        yield {**row, "kind": kind, "alone": alone[row["nearest"]], "union": union}


def read_cases(
    targets: Sequence[Target],
    wide: Sequence[Target],
    data: Datasets,
    cards: Mapping[str, ExpertCard],
    answers: Answerer,
) -> Cases:
    """The cases of all data sets, in all kinds."""
    rows: list[dict[str, Any]] = []
    wordings = other_wordings()
    for target in targets:
        scored = set(target.texts)
        texts = [e.text for e in data.examples(target.name, "dev") if e.text not in scored][:DRAWN_FROM]
        vectors = encode(texts, sentence_encoder_of(cards), fast=True)
        few = replace(target, unlabelled=target.unlabelled[:CHOSEN_BY])
        known = replace(few, experts=tuple(cards))
        types, gold = reworded(target.types, target.gold, wordings)
        renamed = replace(known, types=types, gold=gold)
        for kind, its in (("known", known), ("renamed", renamed), ("hidden", few)):
            rows += worth(its, kind, looks(its, vectors, cards), cards, answers)
    for target in wide:
        seen = looks(target, encode(target.unlabelled, sentence_encoder_of(cards), fast=True), cards)
        if any(row["cosine"] + row["types"] >= GRID[0].both for row in seen):
            few = replace(target, unlabelled=target.unlabelled[:CHOSEN_BY])
            rows += worth(few, "wide", seen, cards, answers)
    return Cases.of(rows)


def strangers(data: Datasets, group: str, source: str, experts: Sequence[str], texts: int) -> Iterator[Target]:
    """The data sets of a group that taught no expert; their test texts are scored, another split's are drawn from."""
    for folder in sorted(path.parent for path in (data.data / group).glob("**/test.jsonl")):
        name = str(folder.relative_to(data.data))
        test = data.examples(name, "test")
        types = training_set(name, test).types
        read = spread([e.text for e in data.examples(name, source)], DRAWN_FROM)
        order = np.random.default_rng(0).permutation(len(read))
        labels = {t.name for t in types}
        gold = [Example(e.text, tuple(x for x in e.entities if x.label in labels)) for e in spread(test, texts)]
        yield Target(folder.parent.name, name, types, gold, [read[i] for i in order], tuple(experts))


# -- the report -------------------------------------------------------------------------------------------------------


def report(cases: Cases) -> Iterator[str]:
    """Markdown: limits by the domain left out, mistakes and F1 by the number of texts, and by the limit of the sum."""
    chosen, taken = nested(cases)
    yield "| domain left out | sum | ahead | F1: nested | shipped | former | union | best of both |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, limits in chosen.items():
        those = cases.domain == name
        yield f"| {name} | {limits.both} | {limits.ahead} | {_f1s(cases.where(those), taken[those])} |"
    yield f"| all | | | {_f1s(cases, taken)} |"
    best = choose(cases)
    yield f"\nChosen on all: {best.both}, {best.ahead} ahead; shipped: {SHIPPED.both}, {SHIPPED.ahead} ahead.\n"
    kinds = " | ".join(f"{kind}, at home: nested | shipped" for kind in KINDS)
    yield f"| texts | {kinds} | F1: nested | shipped | former | union | best of both |"
    yield f"|---|{'---:|' * (2 * len(KINDS) + 5)}"
    for number in np.unique(cases.number):
        those = cases.number == number
        its = cases.where(those)
        cells = [_share(its, kind, mark) for kind in KINDS for mark in (taken[those], its.at_home(SHIPPED))]
        yield f"| {number} | {' | '.join(cells)} | {_f1s(its, taken[those])} |"
    yield f"\n| at home | {' | '.join(f'{kind}: F1, at home' for kind in KINDS)} | F1 | gain over the former |"
    yield f"|---|{'---:|' * (2 + len(KINDS))}"
    rows = {"nobody": np.zeros_like(taken), "former": cases.at_home(FORMER), "nested": taken}
    for both in SUMS:
        rows[f"sum of {both}, {SHIPPED.ahead} ahead"] = cases.at_home(Limits(both, SHIPPED.ahead))
    for name, mark in rows.items():
        cells = []
        for kind in KINDS:
            its = cases.where(cases.kind == kind)
            f1 = f"{its.mean(its.f1(mark[cases.kind == kind])):.1f}" if len(its.kind) else ""
            cells.append(f"{f1}, {_share(cases, kind, mark)}")
        gain, low, high = cases.gain(mark, rows["former"])
        value = f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"
        yield f"| {name} | {' | '.join(cells)} | {cases.mean(cases.f1(mark)):.1f} | {value} |"


def as_they_look(targets: Sequence[Target], cards: Mapping[str, ExpertCard]) -> Iterator[str]:
    """Markdown: targets that are nobody's by all of their texts, and how many of ten draws are taken as at home."""
    numbers = [n for n in NUMBERS if n > 1]
    counts = " | ".join(f"of {n} texts" for n in numbers)
    yield f"| set | nearest | texts | ahead | types | sum | at home: {counts} |"
    yield f"|---|---|{'---:|' * (4 + len(numbers))}"
    for target in targets:
        vectors = encode(target.unlabelled, sentence_encoder_of(cards), fast=True)
        *_, all_texts = looks(target, vectors, cards, [len(vectors)])
        seen = looks(target, vectors, cards, numbers)
        cases = Cases.of([{**row, "kind": "wide", "alone": 0.0, "union": 0.0} for row in seen])
        taken = cases.at_home(SHIPPED)
        cells = [f"{all_texts[key]:.2f}" for key in ("cosine", "ahead", "types")]
        cells += [f"{all_texts['cosine'] + all_texts['types']:.2f}"]
        cells += [f"{taken[cases.number == n].sum()} of {len(SEEDS)}" for n in numbers]
        yield f"| {target.name} | {all_texts['nearest']} | {' | '.join(cells)} |"


def _share(cases: Cases, kind: str, taken: Bools) -> str:
    """How many of a kind are rightly taken as at home, or, of what is nobody's home, wrongly."""
    those = cases.kind == kind
    its = cases.where(those)
    right = (its.nearest == its.domain) | (kind in NOBODYS)
    return f"{100 * its.mean(taken[those] & right):.0f} %" if those.any() else ""


def _f1s(cases: Cases, taken: Bools) -> str:
    ways = [cases.f1(taken), *(cases.f1(cases.at_home(limits)) for limits in (SHIPPED, FORMER))]
    ways += [cases.union, np.maximum(cases.alone, cases.union)]
    return " | ".join(f"{cases.mean(way):.1f}" for way in ways)


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/, wide/ and target/")
    parser.add_argument("--cache", type=Path, default=Path("runs/selection.sqlite"))
    parser.add_argument("--domains", nargs="*", help="domains to leave out in turn; all by default")
    parser.add_argument("--texts", type=int, default=40, help="dev texts of each data set to score on")
    arguments = parser.parse_args()

    pool, data = ExpertPool.load(arguments.pool), Datasets(arguments.data)
    answers, cards = Answerer(pool, Cache(arguments.cache)), dict(pool.experts)
    sets = {name: names for name, names in domains(POOL_DATA, arguments.domains).items() if name in cards}
    targets = list(strangers(data, "target", "unlabeled", list(cards), arguments.texts))
    wide = list(strangers(data, "wide", "train", list(cards), arguments.texts))
    for line in as_they_look([*targets, *wide], cards):
        print(line, flush=True)
    cases = read_cases(read_targets(sets, data, cards, arguments.texts), wide, data, cards, answers)
    for line in ("", *report(cases)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
