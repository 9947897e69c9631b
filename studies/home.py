"""When is a target an expert's own domain? The limits of ``samner.selection.home``, nested over domains.

    python -m studies.home src/samner/pools/builtin --data ../shared/data

Each training set's dev texts are a target in three ways: with all experts, where its domain's expert should be asked
alone; the same with its types called otherwise (``paraphrases.yaml``); and with that expert hidden, where nobody is at
home. Wide sets some of whose types an expert knows are nobody's home either. So many texts as are given are drawn anew
for each seed; what an expert alone and the union find on other texts says what each decision is worth in strict F1.
Limits are chosen on all domains but one (highest F1) and judged on the targets of that one. Answers are kept on disk
by content, as those of ``studies.selection_rules``.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

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

NUMBERS = (1, 5, 10, 20, 60)
"""How many texts a target is given by."""
SEEDS = range(10)
KINDS = ("known", "renamed", "hidden", "wide")
DRAWN_FROM = 200
"""Dev texts of a data set, other than those that are scored."""
CHOSEN_BY = 20
"""Texts that the union's experts are chosen by, however many a target is given by."""


class Limits(NamedTuple):
    """What a target at home has at least; see ``samner.selection.home``."""

    texts: float
    ahead: float
    types: float


NOBODYS = ("hidden", "wide")
"""Kinds of which nobody is at home."""

SHIPPED = Limits(home.TEXTS, home.AHEAD, home.TYPES)
GRID = [
    Limits(*values)
    for values in itertools.product(
        (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6),
        (0.0, 0.05, 0.1, 0.15, 0.2),
        (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    )
]
"""Limits that are tried, strictest last."""


@dataclass(frozen=True)
class Cases:
    """Targets as they look by some of their texts, one a place in every array.

    Args:
        domain: Of the target.
        name: Its data set.
        number: How many texts it is given by.
        own: Whether the nearest expert is its domain's.
        kind: One of ``KINDS``.
        cosine: Of the nearest expert's texts.
        ahead: By how much the next expert's cosine is less.
        types: Mean cosine of its types with those most like them of the nearest expert's.
        alone: F1 of the nearest expert alone.
        union: F1 of the union.
    """

    domain: npt.NDArray[np.str_]
    name: npt.NDArray[np.str_]
    number: npt.NDArray[np.int64]
    own: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    cosine: Floats
    ahead: Floats
    types: Floats
    alone: Floats
    union: Floats

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> Cases:
        return cls(**{field.name: np.array([row[field.name] for row in rows]) for field in fields(cls)})

    def where(self, those: npt.NDArray[np.bool_]) -> Cases:
        return Cases(**{field.name: getattr(self, field.name)[those] for field in fields(self)})

    def at_home(self, limits: Limits) -> npt.NDArray[np.bool_]:
        """Which are taken as at home."""
        found: npt.NDArray[np.bool_] = (self.cosine >= limits.texts) & (self.ahead >= limits.ahead)
        return found & (self.types >= limits.types)

    def f1(self, taken: npt.NDArray[np.bool_]) -> Floats:
        """What is had if those taken as at home are read by the nearest expert alone."""
        return np.where(taken, self.alone, self.union)

    def mean(self, values: npt.ArrayLike) -> float:
        """Over each domain's cases, and over the domains."""
        values = np.asarray(values, dtype=float)
        return float(np.mean([values[self.domain == name].mean() for name in np.unique(self.domain)]))


def choose(cases: Cases) -> Limits:
    """The limits of highest F1; of equals the strictest."""
    return max(GRID, key=lambda limits: (round(cases.mean(cases.f1(cases.at_home(limits))), 3), limits))


def nested(cases: Cases) -> tuple[dict[str, Limits], npt.NDArray[np.bool_]]:
    """For each domain the limits chosen on the others, and which cases these take as at home."""
    chosen = {name: choose(cases.where(cases.domain != name)) for name in np.unique(cases.domain).tolist()}
    taken = np.zeros(len(cases.domain), dtype=bool)
    for name, limits in chosen.items():
        taken |= (cases.domain == name) & cases.at_home(limits)
    return chosen, taken


def looks(
    target: Target,
    kind: str,
    vectors: npt.NDArray[np.float32],
    cards: Mapping[str, ExpertCard],
    f1s: Mapping[str, float],
) -> Iterator[dict[str, object]]:
    """A target's cases: as it looks by its first texts of each seed's draw.

    Args:
        target: Its experts are those that may be asked.
        kind: One of ``KINDS``.
        vectors: Of the texts that may be drawn, a row each.
        cards: Of the experts.
        f1s: Of each expert alone, and of the union.
    """
    known = {name: float(np.mean(type_similarity(target.types, {name: cards[name]}))) for name in target.experts}
    experts = np.array([cards[name].embedding for name in target.experts])
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(vectors))
        for number in NUMBERS:
            cosine = experts @ unit_mean(vectors[order[:number]])
            next_best, best = np.sort(cosine)[-2:].tolist()
            nearest = target.experts[int(cosine.argmax())]
            yield {
                "domain": target.domain,
                "name": target.name,
                "number": number,
                "own": nearest == target.domain,
                "kind": kind,
                "cosine": best,
                "ahead": best - next_best,
                "types": known[nearest],
                "alone": f1s[nearest],
                "union": f1s["union"],
            }


def f1s(target: Target, cards: Mapping[str, ExpertCard], answers: Answerer) -> dict[str, float]:
    """Strict F1 of each expert alone and of the union that ``auto`` makes where nobody is at home.

    Args:
        target: Its texts to adapt to are those that the union's experts are chosen by.
        cards: Of the experts.
        answers: Asks.
    """
    alone = answers.experts(target, target.texts)
    values = {name: f1(target, [flat(found) for found in its]) for name, its in alone.items()}
    table = Table(target, cards, answers)
    one, other = (tuple(sorted(chosen)) for chosen in shipped("auto")(table, 0))
    return {**values, "union": table.union(one, other)}


def report(cases: Cases) -> Iterator[str]:
    """Markdown: limits by the domain left out, mistakes and F1 by the number of texts, and by data set."""
    chosen, taken = nested(cases)
    yield "| domain left out | texts | ahead | types | F1: nested | shipped | union | best of both |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name, limits in chosen.items():
        those = cases.domain == name
        yield f"| {name} | {' | '.join(map(str, limits))} | {_f1s(cases.where(those), taken[those])} |"
    yield f"| all | | | | {_f1s(cases, taken)} |"
    yield f"\nChosen on all: {choose(cases)}; shipped: {SHIPPED}.\n"
    yield (
        "| texts | at home, found: nested | shipped | renamed, found: nested | shipped "
        "| hidden, taken as at home: nested | shipped | wide, taken: nested | shipped "
        "| F1: nested | shipped | union | best of both |"
    )
    yield f"|---|{'---:|' * 12}"
    for number in NUMBERS:
        those = cases.number == number
        its = cases.where(those)
        cells = []
        for kind in KINDS:
            rows = its.kind == kind
            part = its.where(rows)
            for mark in (taken[those][rows], part.at_home(SHIPPED)):
                cells.append(100 * part.mean(mark & (part.own | (kind in NOBODYS))))
        yield f"| {number} | {' | '.join(f'{c:.0f} %' for c in cells)} | {_f1s(its, taken[those])} |"


def together(cases: Cases) -> Iterator[str]:
    """Markdown: one limit of the sum of both cosines in the place of two, so that likelier texts make up for names."""
    yield f"| texts and types, sum | {' | '.join(f'{kind}: F1, at home' for kind in KINDS)} | F1 | gain |"
    yield f"|---|{'---:|' * (2 + len(KINDS))}"
    ships = cases.at_home(SHIPPED)
    for limit in (None, 1.2, 1.25, 1.3, 1.35, 1.4, 1.45, 1.5):
        taken = ships if limit is None else (cases.cosine + cases.types >= limit) & (cases.ahead >= SHIPPED.ahead)
        cells = []
        for kind in KINDS:
            part, mark = cases.where(cases.kind == kind), taken[cases.kind == kind]
            cells.append(f"{part.mean(part.f1(mark)):.1f}, {100 * part.mean(mark):.0f} %" if len(mark) else "")
        gains = cases.f1(taken) - cases.f1(ships)
        by_set = np.array([gains[cases.name == name].mean() for name in np.unique(cases.name)])
        low, high = interval(by_set)
        gain = f"{by_set.mean():+.1f} [{low:+.1f}, {high:+.1f}]"
        yield f"| {limit or 'as shipped'} | {' | '.join(cells)} | {cases.mean(cases.f1(taken)):.1f} | {gain} |"


def _f1s(cases: Cases, taken: npt.NDArray[np.bool_]) -> str:
    ways = (cases.f1(taken), cases.f1(cases.at_home(SHIPPED)), cases.union, np.maximum(cases.alone, cases.union))
    return " | ".join(f"{cases.mean(way):.1f}" for way in ways)


def read_cases(targets: Sequence[Target], data: Datasets, cards: Mapping[str, ExpertCard], answers: Answerer) -> Cases:
    """The cases of all data sets, in all kinds."""
    rows: list[dict[str, object]] = []
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
            rows += looks(its, kind, vectors, cards, f1s(its, cards, answers))
    for target in wide_targets(data, cards, len(targets[0].gold)):
        vectors = encode(target.unlabelled, sentence_encoder_of(cards), fast=True)
        few = replace(target, unlabelled=target.unlabelled[:CHOSEN_BY])
        rows += looks(few, "wide", vectors, cards, f1s(few, cards, answers))
    return Cases.of(rows)


def wide_targets(data: Datasets, cards: Mapping[str, ExpertCard], texts: int) -> Iterator[Target]:
    """The wide sets whose types are like an expert's, by the loosest of the limits that are tried."""
    for folder in sorted(path.parent for path in (data.data / "wide").glob("**/test.jsonl")):
        name = str(folder.relative_to(data.data))
        test = data.examples(name, "test")
        types = training_set(name, test).types
        likeness = (float(np.mean(type_similarity(types, {expert: card}))) for expert, card in cards.items())
        if max(likeness) >= GRID[0].types:
            read = spread([e.text for e in data.examples(name, "train")], DRAWN_FROM)
            order = np.random.default_rng(0).permutation(len(read))
            labels = {t.name for t in types}
            gold = [Example(e.text, tuple(x for x in e.entities if x.label in labels)) for e in spread(test, texts)]
            yield Target(folder.parent.name, name, types, gold, [read[i] for i in order], tuple(cards))


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/ and wide/")
    parser.add_argument("--cache", type=Path, default=Path("runs/selection.sqlite"))
    parser.add_argument("--texts", type=int, default=40, help="dev texts of each data set to score on")
    arguments = parser.parse_args()

    pool, data = ExpertPool.load(arguments.pool), Datasets(arguments.data)
    answers, cards = Answerer(pool, Cache(arguments.cache)), dict(pool.experts)
    sets = {name: names for name, names in domains(POOL_DATA).items() if name in cards}
    cases = read_cases(read_targets(sets, data, cards, arguments.texts), data, cards, answers)
    for line in (*report(cases), "", *together(cases)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
