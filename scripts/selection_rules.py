"""Compare rules of selection by leave-one-domain-out: each domain's dev splits are targets of the other experts.

    python scripts/selection_rules.py src/samner/builtin --data ../shared/data --cache runs/selection

Every subset of the experts left is merged once and reads every data set once; answers are kept on disk by content, so
that afterwards a rule is a look-up. No target's test set is read. Only the experts are left out: where the base was
taught the hidden domain too, as the built-in one was, a target is easier than a new domain and the figures compare
rules, no more.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from samner.adaptation import task_model
from samner.backbones import BASE
from samner.chunking import predict_long
from samner.data import read_examples
from samner.files import write_json
from samner.pool import ExpertPool
from samner.train import training_set
from samner.types import Entity, EntityType, Example

VOTE_THRESHOLD = 0.05
WORDS = 40
"""Longer texts are left out where enough others are there: they take most of the time and say little more."""

Answers = list[list[Entity]]


@dataclass(frozen=True)
class Target:
    """A dev split: the texts to score on, those to adapt to, and the experts that may be chosen."""

    domain: str
    name: str
    types: tuple[EntityType, ...]
    gold: Sequence[Example]
    unlabelled: Sequence[str]
    experts: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        return [example.text for example in self.gold]


def read_targets(domains: Mapping[str, Iterable[str]], data: Path, experts: Iterable[str], texts: int) -> list[Target]:
    """Each domain's dev splits, without the longest texts: the last ones to score on, the first ones to adapt to."""
    targets = []
    for domain, names in domains.items():
        for name in names:
            types = training_set(name, read_examples(data / name / "train.jsonl")).types
            known = {t.name for t in types}
            dev = read_examples(data / name / "dev.jsonl")
            short = [e for e in dev if len(e.text.split()) <= WORDS]
            dev = short if len(short) >= texts else sorted(dev, key=lambda e: len(e.text))[:texts]
            gold = [Example(e.text, tuple(x for x in e.entities if x.label in known)) for e in dev[-texts:]]
            unlabelled = [e.text for e in dev[: 2 * texts]]
            targets.append(Target(domain, name, types, gold, unlabelled, tuple(e for e in experts if e != domain)))
    return targets


class Cache:
    """Answers of models to texts, kept on disk by everything that decides them."""

    def __init__(self, pool: ExpertPool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.digests = {name: card.files for name, card in pool.experts.items()}
        self.asked = 0

    def merged(self, weights: Mapping[str, float], targets: Sequence[Target], **merge: object) -> list[Answers]:
        """The answers of one merge to several targets; the base answers where nothing is merged."""
        threshold = self.pool.backbone.threshold
        parts = {name: [self.digests[name], weight] for name, weight in weights.items()}
        paths = [self._path(["merge", parts, merge, threshold], t, t.texts) for t in targets]
        if missing := [(t, path) for t, path in zip(targets, paths, strict=True) if not path.is_file()]:
            parameters = dict(merge)
            method = str(parameters.pop("method", "ties"))
            model = task_model(self.pool, weights, method, parameters).model if weights else BASE
            for target, path in missing:
                self._keep(path, predict_long(self.pool.backbone, target.texts, target.types, [model], threshold))
            self.pool.backbone.remove(model)
        return [self._read(path)[0] for path in paths]

    def experts(self, target: Target, texts: Sequence[str], threshold: float) -> dict[str, Answers]:
        """The answers of every expert that is left to a target's texts."""
        names = list(target.experts)
        path = self._path(["experts", [[n, self.digests[n]] for n in names], threshold], target, texts)
        if not path.is_file():
            self.pool.load_experts(names)
            self._keep(path, predict_long(self.pool.backbone, texts, target.types, names, threshold))
        return dict(zip(names, self._read(path), strict=True))

    def _path(self, asked: list[object], target: Target, texts: Sequence[str]) -> Path:
        decides = [self.pool.backbone.fingerprint, asked, [t.prompt for t in target.types], list(texts)]
        return self.folder / f"{hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]}.json"

    def _keep(self, path: Path, answers: Mapping[str, Answers]) -> None:
        self.asked += 1
        values = [
            [[[e.start, e.end, e.label, round(e.score, 4)] for e in entities] for entities in found]
            for found in answers.values()
        ]
        write_json(path, {"answers": values})

    def _read(self, path: Path) -> list[Answers]:
        values = json.loads(path.read_text(encoding="utf-8"))["answers"]
        return [[[Entity(*e) for e in entities] for entities in found] for found in values]


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    return [subset for k in range(len(names) + 1) for subset in itertools.combinations(names, k)]


def fill(cache: Cache, targets: Sequence[Target]) -> None:
    """Ask every model every question that rules may look up."""
    for domain, group in itertools.groupby(targets, key=lambda t: t.domain):
        same = list(group)
        for target in same:
            cache.experts(target, target.unlabelled, VOTE_THRESHOLD)
        for subset in subsets(same[0].experts):
            cache.merged(dict.fromkeys(subset, 1.0), same)
        logging.getLogger("samner").info("%s: %d answers new", domain, cache.asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--cache", type=Path, default=Path("runs/selection"))
    parser.add_argument("--domains", nargs="*", help="domains to leave out in turn; all by default")
    parser.add_argument("--texts", type=int, default=60, help="dev texts of each data set to score on")
    parser.add_argument("--settings", type=Path, default=Path(__file__).parent / "builtin_pool.yaml")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("samner").setLevel(logging.INFO)
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)

    domains = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))["domains"]
    domains = {domain: domains[domain] for domain in arguments.domains or domains}
    pool = ExpertPool.load(arguments.pool)
    targets = read_targets(domains, arguments.data, pool.experts, arguments.texts)
    fill(Cache(pool, arguments.cache), targets)


if __name__ == "__main__":
    main()
