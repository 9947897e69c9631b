"""A type that an expert never learnt, among its own: does it hurt to ask the expert alone all the same?

    python -m studies.foreign_types src/samner/pools/builtin --data ../shared/data

Two kinds of targets. The training sets' dev texts, a type of another data set added to theirs, which none of the
nearest expert's types is like: no text is marked with it, so what is found of it counts as wrong. And wide sets some
of whose types the nearest expert knows: with these one foreign type at a time, which is marked. Prints for each, as
Markdown, strict F1 of the nearest expert alone and of the union of three experts each, the same of the foreign type,
how like the expert's its types are, and whether ``auto`` takes the target as at home.

Then how a foreign type is told from another name of a known one (``paraphrases.yaml``), by its cosine with the type
most like it that the expert knows: the limit of ``samner.selection.home.FOREIGN``, chosen on all domains but one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samner.adaptation import adapt
from samner.cli.output import guarded
from samner.data import read_examples
from samner.embedding import spread
from samner.entities import Entity, EntityType, Example
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.selection import home, select_by_similarity
from samner.selection.similarity import type_similarity
from samner.spans import flat
from studies.training_data import POOL_DATA, Datasets, domains
from studies.wordings import other_wordings

SURELY = 0.6
"""Cosine below which a type is taken for a foreign one here: of its name and the one most like it that is known."""
KNOWN = 0.85
"""Cosine from which it is taken for a known one."""
EACH = 3
"""Foreign types of a wide set that are tried: the most frequent."""


class Mixed(NamedTuple):
    """A target with one foreign type.

    Args:
        name: The data set.
        unlabelled: Texts to adapt to.
        scored: Texts that tell F1, with all their entities.
        types: Those that are not foreign.
        foreign: The other.
    """

    name: str
    unlabelled: Sequence[str]
    scored: Sequence[Example]
    types: tuple[EntityType, ...]
    foreign: EntityType


def marked(data: Path, pool: ExpertPool, unlabelled: int, texts: int) -> Iterator[Mixed]:
    """The wide sets, with types that the nearest expert knows and one that it does not."""
    for folder in sorted(path.parent for path in (data / "wide").glob("**/test.jsonl")):
        scored = spread(read_examples(folder / "test.jsonl"), texts)
        read = spread([e.text for e in read_examples(folder / "train.jsonl")], unlabelled)
        nearest = select_by_similarity(pool.experts, read, 1).chosen[0]
        counts = Counter(entity.label for example in scored for entity in example.entities)
        types = [EntityType(name) for name, _ in counts.most_common()]
        likeness = type_similarity(types, {nearest: pool.experts[nearest]})
        known = tuple(t for t, like in zip(types, likeness, strict=True) if like >= KNOWN)
        foreign = [t for t, like in zip(types, likeness, strict=True) if like < SURELY]
        for other in foreign[:EACH] if known else ():
            yield Mixed(str(folder.relative_to(data)), read, scored, known, other)


def unmarked(data: Path, pool: ExpertPool, unlabelled: int, texts: int) -> Iterator[Mixed]:
    """The training sets of the pool, each with a type of another domain that its expert does not know."""
    sets, rng = Datasets(data), np.random.default_rng(0)
    known = {domain: names for domain, names in domains(POOL_DATA).items() if domain in pool.experts}
    for domain, names in known.items():
        others = sorted(
            {t for other, those in known.items() if other != domain for n in those for t in sets.types(n)}, key=str
        )
        likeness = type_similarity(others, {domain: pool.experts[domain]})
        foreign = [t for t, like in zip(others, likeness, strict=True) if like < SURELY]
        for name in names:
            dev = sets.examples(name, "dev")
            read = [e.text for e in dev[:-texts]][:unlabelled]
            yield Mixed(name, read, dev[-texts:], sets.types(name), foreign[rng.integers(len(foreign))])


def row(pool: ExpertPool, its: Mixed) -> str:
    """What a target gives, as a line of a table."""
    types = (*its.types, its.foreign)
    texts = [example.text for example in its.scored]
    model = adapt(pool, its.unlabelled, types, experts=3)
    cosine = model.selections["similarity"].cosine
    nearest = model.selections["similarity"].ranking[0]
    pool.load_experts([nearest])
    alone = [flat(a) for a in pool.backbone.predict(texts, types, [nearest], pool.backbone.threshold)[nearest]]
    union = model.predict(texts)
    model.close()
    likeness = type_similarity(types, {nearest: pool.experts[nearest]})
    taken = home.at_home(pool.experts, cosine, types) is not None
    foreign, every = {its.foreign.name}, {t.name for t in types}
    cells = [
        its.name,
        nearest,
        str(len(its.types)),
        its.foreign.name,
        f"{likeness.mean():.2f}",
        f"{likeness.min():.2f}",
    ]
    for answers in (alone, union):
        gold = [example.entities for example in its.scored]
        cells.append(f"{100 * micro_f1(gold, answers, every):.1f}")
        cells.append(f"{100 * micro_f1(gold, answers, foreign):.1f}, {claims(answers, its.foreign)}")
    return f"| {' | '.join(cells)} | {'at home' if taken else ''} |"


def claims(answers: Sequence[Sequence[Entity]], label: EntityType) -> int:
    return sum(entity.label == label.name for entities in answers for entity in entities)


class Names(NamedTuple):
    """How like an expert's types some names are: other names of these, and types of other domains."""

    other: npt.NDArray[np.float32]
    foreign: npt.NDArray[np.float32]

    def wrong(self, limit: float) -> float:
        """Share of the names that the limit takes for what they are not, both kinds weighing the same."""
        return float(((self.other < limit).mean() + (self.foreign >= limit).mean()) / 2)


def names(data: Path, pool: ExpertPool) -> dict[str, Names]:
    """By domain."""
    sets, wordings = Datasets(data), other_wordings()
    types = {
        d: {t.name for n in ns for t in sets.types(n)} for d, ns in domains(POOL_DATA).items() if d in pool.experts
    }
    found = {}
    for domain, own in types.items():
        card = {domain: pool.experts[domain]}
        other = sorted({wording for name in own for wording in wordings.get(name, ())} - own)
        foreign = sorted({name for others in types.values() for name in others} - own)
        found[domain] = Names(*(type_similarity([EntityType(n) for n in those], card) for those in (other, foreign)))
    return found


def told(found: Mapping[str, Names]) -> Iterator[str]:
    """Markdown: for each domain the limit that is best on the others, and how often that and the shipped one err."""
    yield "| domain left out | limit | other names below | foreign types below | wrong | wrong, shipped |"
    yield "|---|---:|---:|---:|---:|---:|"
    for domain, its in found.items():
        limit = best([others for name, others in found.items() if name != domain])
        cells = [(its.other < limit).mean(), (its.foreign < limit).mean(), its.wrong(limit), its.wrong(home.FOREIGN)]
        yield f"| {domain} | {limit:.2f} | {' | '.join(f'{100 * cell:.0f} %' for cell in cells)} |"
    yield f"\nBest on all: {best(list(found.values())):.2f}; shipped: {home.FOREIGN}."


def best(found: Sequence[Names]) -> float:
    """The limit that is wrong least often, on average."""
    return float(
        min(np.arange(0.3, 0.8, 0.05).round(2), key=lambda limit: np.mean([its.wrong(limit) for its in found]))
    )


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/ and wide/")
    parser.add_argument("--unlabelled", type=int, default=60, help="texts of each data set to adapt to")
    parser.add_argument("--texts", type=int, default=40, help="texts of each data set to score on")
    arguments = parser.parse_args()
    pool = ExpertPool.load(arguments.pool)
    for kind in (unmarked, marked):
        print(
            "\n| set | nearest | its types | foreign | mean cosine | least | alone: F1 | foreign: F1, found "
            "| union: F1 | foreign: F1, found | auto |\n|---|---|---:|---|---:|---:|---:|---:|---:|---:|---|"
        )
        for target in kind(arguments.data, pool, arguments.unlabelled, arguments.texts):
            print(row(pool, target), flush=True)
    print()
    for line in told(names(arguments.data, pool)):
        print(line)


if __name__ == "__main__":
    main()
