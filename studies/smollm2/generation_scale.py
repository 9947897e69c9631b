"""Set the scale of merges and the threshold of the pool that answers in JSON by hidden domains.

    python -m studies.smollm2.generation_scale smollm2-generation --data ../shared/data

Each domain in turn is hidden: the other experts whose texts are most like its own, three or ``--experts``, are merged
(TIES) and read the first dev texts, with entities, of its first two data sets. Prints strict micro-F1, averaged over
data sets, by scale and threshold; scale 0 is the base alone. ``--without-opening`` scores entities by their own tokens
alone.
``leave_one_domain_out.py`` does the same with whole adaptations, in hours.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from samner.backbones import BASE
from samner.backbones.language_model.generation import ask as asking
from samner.backbones.language_model.generation.ask import Generated, confidence
from samner.backbones.language_model.loading import linear_layers
from samner.backbones.training import TrainingSet
from samner.cli.output import guarded
from samner.lora import LoraAdapter
from samner.merging import Merger
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.spans import flat
from studies.smollm2.train import DOMAINS, read_set

THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
MOST_TYPES = 16
HIDDEN = ("biomedical", "news", "social", "stem", "traffic")
"""Legal is left out: its texts and lists of types are so long that it takes as long as all others."""


def without_opening(generated: Generated, span: tuple[int, int]) -> float:
    """``confidence`` as if the token that opens a string were always sure."""
    first = 0
    logprobs = list(generated.logprobs)
    for i, text in enumerate(generated.token_texts):
        if first + len(text) <= span[0]:
            logprobs[i] = 0.0
        first += len(text)
    return confidence(replace(generated, logprobs=tuple(logprobs)), span)


def nearest(pool: ExpertPool, domain: str, count: int) -> list[str]:
    """The other experts whose texts are most like those of a domain's own."""
    own = np.asarray(pool.experts[domain].embedding)
    others = [name for name in pool.experts if name != domain]
    return sorted(others, key=lambda name: -float(own @ np.asarray(pool.experts[name].embedding)))[:count]


def merged(pool: ExpertPool, domain: str, scale: float, experts: int) -> str:
    """The name of the task model that reads a hidden domain, once it is on the base."""
    if not scale:
        return BASE
    backbone: Any = pool.backbone
    shapes = {name: tuple(layer.weight.shape) for name, layer in linear_layers(backbone.model).items()}
    adapters = [
        LoraAdapter.load(pool.folder / "experts" / name).on_base(shapes) for name in nearest(pool, domain, experts)
    ]
    name = f"{domain} at {scale}"
    with Merger(adapters, "ties", density=0.2, lam=scale) as merger:
        backbone.add_task_model(name, dict(merger.dense()))
    return name


def dev_sets(data: Path, domain: str, texts: int) -> Iterator[TrainingSet]:
    """The first texts with entities of a domain's first two data sets."""
    for name in DOMAINS[domain][:2]:
        found = read_set(data / name, name, "dev")
        some = [example for example in found.examples if example.entities][:texts]
        yield replace(found, examples=some, types=found.types[:MOST_TYPES])


def measure(
    pool: ExpertPool, data: Path, scale: float, texts: int, domains: Sequence[str], experts: int
) -> list[float]:
    """Mean F1 in percent for each of ``THRESHOLDS``."""
    scores: list[list[float]] = []
    for domain in domains:
        name = merged(pool, domain, scale, experts)
        for data_set in dev_sets(data, domain, texts):
            gold = [example.entities for example in data_set.examples]
            names = {entity_type.name for entity_type in data_set.types}
            read = [example.text for example in data_set.examples]
            found = pool.backbone.predict(read, data_set.types, [name], 0.0)[name]
            kept = [[flat([e for e in its if e.score >= least]) for its in found] for least in THRESHOLDS]
            scores.append([100 * micro_f1(gold, its, names) for its in kept])
        if scale:
            pool.backbone.remove(name)
    return [math.fsum(column) / len(column) for column in zip(*scores, strict=True)]


@guarded()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.0, 0.25, 0.375, 0.5, 0.75, 1.0])
    parser.add_argument("--texts", type=int, default=8, help="of each data set")
    parser.add_argument("--experts", type=int, default=3, help="that are merged")
    parser.add_argument("--domains", nargs="+", default=HIDDEN, choices=[*DOMAINS])
    parser.add_argument("--without-opening", action="store_true")
    arguments = parser.parse_args()
    if arguments.without_opening:
        asking.confidence = without_opening
    pool = ExpertPool.load(arguments.pool)
    print("| scale | " + " | ".join(f"{least:g}" for least in THRESHOLDS) + " |")
    print("|---|" + "---:|" * len(THRESHOLDS))
    for scale in arguments.scales:
        row = measure(pool, arguments.data, scale, arguments.texts, arguments.domains, arguments.experts)
        print(f"| {scale:g} | " + " | ".join(f"{f1:.1f}" for f1 in row) + " |", flush=True)


if __name__ == "__main__":
    main()
