"""Score how much a base's logits of unfamiliar types should gain, on domains that taught it nothing.

    python studies/calibrate_novelty.py --data ../shared/data runs/compare-wordnet --domains legal social stem

Prints, for every threshold and every value of ``EncoderBackbone.novelty``, strict span micro-F1 of the base,
averaged over each domain's dev splits and over the domains. No target's test set is read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import yaml

from samner.backbones import BASE
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.chunking import predict_long
from samner.data import read_examples
from samner.scoring import score
from samner.spans import flat
from samner.training import training_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--domains", nargs="+", required=True, help="domains that the base was not taught")
    parser.add_argument("--texts", type=int, default=150, help="dev texts of each data set to score on")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.1, 0.15, 0.2, 0.3, 0.4])
    parser.add_argument("--novelties", type=float, nargs="+", default=[0, 1, 2, 3, 4, 5, 6])
    parser.add_argument("--settings", type=Path, default=Path(__file__).parent / "pool_data.yaml")
    arguments = parser.parse_args()

    domains = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))["domains"]
    base = EncoderBackbone.load(arguments.pool / "base")
    f1: dict[tuple[float, float], dict[str, list[float]]] = {}
    for domain in arguments.domains:
        for name in domains[domain]:
            types = training_set(name, read_examples(arguments.data / name / "train.jsonl")).types
            gold = read_examples(arguments.data / name / "dev.jsonl")[: arguments.texts]
            for base.novelty in arguments.novelties:
                for threshold in arguments.thresholds:
                    found = predict_long(base, [e.text for e in gold], types, [BASE], threshold)[BASE]
                    predicted = [flat(entities) for entities in found]
                    value = 100 * score(gold, predicted, types).strict.counts.f1
                    f1.setdefault((threshold, base.novelty), {}).setdefault(domain, []).append(value)
    for (threshold, novelty), scores in f1.items():
        means = {domain: round(float(np.mean(values)), 1) for domain, values in scores.items()}
        line = {"threshold": threshold, "novelty": novelty, "f1": round(float(np.mean(list(means.values()))), 2)}
        print(json.dumps(line | means))


if __name__ == "__main__":
    main()
