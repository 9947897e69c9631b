"""Calibrate when samner says that no expert is close to a domain, on the training domains' dev splits.

    python -m studies.familiarity --data ../shared/data

Each data set is compared to three pools: one that was trained on it, one that knows its domain by other data sets, and
one from which its whole domain is left out. No model is asked: only texts and the names of types are compared. Prints
both figures for each, and the thresholds by which a warning comes most often for the third while it comes for at most
one in ten of the second.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from samner.embedding import sentence_encoder
from samner.selection.signals import TEXTS, TYPES
from studies.training_data import POOL_DATA, Datasets, domains

POOLS = ("trained on it", "knows its domain", "domain left out")
FALSE_ALARMS = 0.1


def likeness(folders: dict[str, str], data: Datasets) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """For each data set and pool, the best cosine of an expert's texts and the mean over types of the best cosine."""
    encode = partial(sentence_encoder().encode, normalize_embeddings=True, show_progress_bar=False)
    train, dev, types = {}, {}, {}
    for name in folders:
        examples = data.examples(name, "train")
        train[name] = encode([e.text for e in examples[:: -(-len(examples) // 120)]]).mean(axis=0)
        texts = [e.text for e in data.examples(name, "dev")]
        dev[name] = encode(texts[:: -(-len(texts) // 60)]).mean(axis=0)
        types[name] = encode([t.name for t in data.types(name)])
    for name, domain in folders.items():
        rows = []
        for pool in POOLS:
            left = [
                n for n in folders if pool == POOLS[0] or (folders[n] != domain if pool == POOLS[2] else n != name)
            ]
            if pool == POOLS[1] and domain not in {folders[n] for n in left}:
                rows.append((float("nan"), float("nan")))  # its domain has no other data set
                continue
            experts = [
                np.mean([train[n] for n in left if folders[n] == d], axis=0) for d in {folders[n] for n in left}
            ]
            cosine = max(float(e @ dev[name] / np.linalg.norm(e) / np.linalg.norm(dev[name])) for e in experts)
            known = np.concatenate([types[n] for n in left])
            rows.append((cosine, float((types[name] @ known.T).max(axis=1).mean())))
        yield name, rows


def fires(rows: np.ndarray, pool: int, texts: float, types: float) -> float:
    there = rows[~np.isnan(rows[:, pool, 0]), pool]
    return float(np.mean((there[:, 0] < texts) & (there[:, 1] < types))) if len(there) else float("nan")


def best(rows: np.ndarray) -> tuple[float, float]:
    """The thresholds of texts and types; of those that do equally well, the middle ones."""
    grid = np.round(np.arange(0.2, 1.0, 0.02), 2)
    allowed = [p for p in itertools.product(grid, grid) if fires(rows, 1, *p) <= FALSE_ALARMS]
    top = max(fires(rows, 2, *p) for p in allowed)
    good = np.array([p for p in allowed if fires(rows, 2, *p) == top])
    middle = np.median(good, axis=0)
    nearest = good[np.abs(good - middle).sum(axis=1).argmin()]
    return float(nearest[0]), float(nearest[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--settings", type=Path, default=POOL_DATA)
    arguments = parser.parse_args()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)

    folders = {name: domain for domain, names in domains(arguments.settings).items() for name in names}
    found = dict(likeness(folders, Datasets(arguments.data)))
    print(f"| data set | {' | '.join(f'{pool}: texts, types' for pool in POOLS)} |\n|---|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {' | '.join(f'{texts:.2f}, {types:.2f}' for texts, types in values)} |")
    rows = np.array(list(found.values()))
    for title, thresholds in (("shipped", (TEXTS, TYPES)), ("best", best(rows))):
        rates = ", ".join(f"{pool}: {fires(rows, i, *thresholds):.2f}" for i, pool in enumerate(POOLS))
        print(f"{title}: texts {thresholds[0]:.2f}, types {thresholds[1]:.2f}; warned of {rates}")
    left_out = [
        (fires(rows[i : i + 1], 2, *thresholds), fires(rows[i : i + 1], 1, *thresholds))
        for i in range(len(rows))
        for thresholds in [best(np.delete(rows, i, axis=0))]
    ]
    hidden, known = np.nanmean(left_out, axis=0)
    print(f"each data set by thresholds from the others: {POOLS[2]}: {hidden:.2f}, {POOLS[1]}: {known:.2f}")


if __name__ == "__main__":
    main()
