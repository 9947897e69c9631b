"""When does no expert fit? Signals that are there without labels, beside the F1 that they are to foretell.

    python -m studies.warning builtin --data ../shared/data
    python -m studies.warning builtin --data ../shared/data --targets

First for each training domain left out, on the dev splits of its data sets: from these the rule of
``samner.selection.signals.unfamiliar`` is chosen. With ``--targets`` for the targets, which choose nothing: who is
warned there, and of what F1. Prints a line of JSON for each set: ``cosine`` of the nearest expert's texts, ``types``
(mean cosine of each type's name with the one most like it that an expert knows), ``agreement`` (the highest F1 of an
expert against what experts agree on in the sample texts), ``found`` (entities they agree on, by text), and the strict
micro-F1 of the union.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from samner.adaptation import adapt
from samner.data import read_examples, read_texts
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.selection.similarity import type_similarity
from samner.training import training_set
from studies.training_data import POOL_DATA, Datasets, domains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/ and target/")
    parser.add_argument("--targets", action="store_true", help="the targets instead of the training domains")
    parser.add_argument("--texts", type=int, default=100, help="texts of each data set to score on")
    parser.add_argument("--unlabelled", type=int, default=200, help="texts of each data set to adapt to")
    arguments = parser.parse_args()
    pool, data = ExpertPool.load(arguments.pool), Datasets(arguments.data)
    sets: list[tuple[str, str | None]]
    if arguments.targets:
        sets = [(f"target/{folder.name}", None) for folder in sorted((arguments.data / "target").iterdir())]
    else:
        hidden = {name: sets for name, sets in domains(POOL_DATA).items() if name in pool.experts}
        sets = [(name, domain) for domain, names in hidden.items() for name in names]
    for name, domain in sets:
        if domain is None:
            examples = read_examples(arguments.data / name / "test.jsonl")
            unlabelled = read_texts(arguments.data / name / "unlabeled.jsonl")
            types = training_set(name, examples).types
        else:
            examples, types = data.examples(name, "dev"), data.types(name)
            unlabelled = [example.text for example in examples]
        exclude = [] if domain is None else [domain]
        model = adapt(pool, unlabelled[: arguments.unlabelled], types, exclude=exclude)
        cards = {expert: card for expert, card in pool.experts.items() if expert not in exclude}
        scored = examples[-arguments.texts :] if domain else examples[: arguments.texts]
        predicted = model.predict([example.text for example in scored])
        sampling = model.selections["sampling"]
        line = {
            "set": name,
            "hidden": domain,
            "cosine": max(model.selections["similarity"].cosine.values()),
            "types": float(np.mean(type_similarity(types, cards))),
            "agreement": max(sampling.f1.values()),
            "found": len(sampling.pseudo_labels) / max(1, len(sampling.sample)),
            "warned": any("no expert is close" in warning for warning in sampling.warnings),
            "f1": 100 * micro_f1([e.entities for e in scored], predicted, {t.name for t in types}),
        }
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}), flush=True)
        model.close()


if __name__ == "__main__":
    main()
