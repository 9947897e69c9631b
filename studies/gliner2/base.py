"""Teach a small GLiNER2 model where there is no hub: all-MiniLM-L6-v2 is its encoder, its heads are new.

    python -m studies.gliner2.base --data ../shared/data --out runs/gliner2/base --minutes 30
    python -m studies.gliner2.base --data ../shared/data --runs runs --out runs/gliner2/wide --minutes 30 \
        --option paraphrase_rate=0.3  # with WordNet's, in runs/foundation/wordnet, and other wordings of types

All its weights learn, by gliner2's own losses, from the sets that teach the other bases: none of the experts' domains
and no target. A training that was stopped goes on. The folder is a base: the checkpoint is in ``model/``.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from samner.backbones import TrainingData, TrainingSet
from samner.backbones.fit import dev_score
from samner.backbones.gliner2.backbone import Gliner2Backbone
from samner.backbones.gliner2.base_card import BaseCard
from samner.backbones.gliner2.training import Recipe, teach
from samner.cli.output import guarded
from samner.files import atomic_folder
from samner.references import MINILM, located
from samner.settings import plain_value
from studies.training_data import HERE, Datasets, read_settings
from studies.wordings import GLOSSES, other_wordings

LESSON = HERE / "wide_pool.yaml"
CARD = BaseCard(model="model", max_words=128)  # the encoder reads 512 sub-tokens
RECIPE = {"learning_rate": 1e-4, "batch_tokens": 512, "max_words": 40, "max_types": 8, "evaluations": 0}
HEADS = 5.0  # times as fast as the encoder, which knows something
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
DEV_TEXTS = 10  # of each set
DEV_TYPES = 30  # sets of more are not judged by: what asks for all of them at once is longer than the encoder reads
log = logging.getLogger("gliner2")


def make_base(folder: Path) -> None:
    """Write a base whose encoder is all-MiniLM-L6-v2, and whose heads know nothing."""
    from transformers import AutoTokenizer

    from gliner2 import AutoExtractor, ExtractorConfig

    torch.manual_seed(0)
    encoder = str(located(MINILM))
    config = ExtractorConfig(model_name=encoder, architecture="span", counting_layer="count_lstm_v2")
    model = AutoExtractor.from_config(config, tokenizer=AutoTokenizer.from_pretrained(encoder))
    model.config.model_name = MINILM
    model.count_pred[-1].bias.data[1] += 10  # how often a record occurs; nothing is found if never, and none is taught
    model.save_pretrained(str(folder / CARD.model))
    CARD.write(folder)


def lessons(data: Path, runs: Path | None) -> tuple[list[TrainingSet], list[TrainingSet]]:
    """What teaches it, and the dev splits."""
    found = Datasets(data, runs)
    sets = {n: s for n, s in read_settings(LESSON)["foundation"].items() if runs or n != GLOSSES}  # made, not given
    train = [replace(found.set(name), weight=its.get("weight", 1.0)) for name, its in sets.items()]
    return train, [found.set(its.name, "dev") for its in train if len(its.types) <= DEV_TYPES]


def best_threshold(learner: Gliner2Backbone, dev: Sequence[TrainingSet]) -> tuple[float, float]:
    """The threshold of the highest strict F1 on the dev splits, and that F1, the mean over the sets."""
    scores = {}
    for learner.threshold in THRESHOLDS:
        scores[learner.threshold] = float(np.mean([dev_score(learner, its, DEV_TEXTS) for its in dev]))
        log.info("threshold %.1f: dev F1 %.1f", learner.threshold, 100 * scores[learner.threshold])
    best = max(scores, key=scores.__getitem__)
    return best, scores[best]


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="folder that holds foundation/wordnet; without it, that is left out")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the training; repeated")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run = arguments.out.parent / f".{arguments.out.name}"
    run.mkdir(parents=True, exist_ok=True)
    train, dev = lessons(arguments.data, arguments.runs)
    with tempfile.TemporaryDirectory() as scratch:
        make_base(Path(scratch))
        learner = Gliner2Backbone.load(Path(scratch))
    weights = dict(learner.model.named_parameters())
    rates = {name: HEADS for name in weights if not name.startswith("encoder.")}
    pairs = [pair.partition("=") for pair in arguments.option]
    options = {key: plain_value(value, f"--option {key}") for key, _, value in pairs}
    recipe = Recipe.of({**RECIPE, "steps": 10**6, "max_minutes": arguments.minutes, **options})
    taught = TrainingData(train, paraphrases=other_wordings())
    outcome = teach(learner, weights, taught, recipe, run=run, resume=True, rates=rates)
    threshold, score = best_threshold(learner, dev)
    with atomic_folder(arguments.out) as folder:
        learner.model.save_pretrained(str(folder / CARD.model))
        CARD.model_copy(update={"threshold": threshold}).write(folder)
    shutil.rmtree(run)
    print(f"{arguments.out}: {outcome.steps} steps, {outcome.seconds / 60:.0f} minutes, ", end="")
    print(f"dev F1 {100 * score:.1f} at threshold {threshold}")


if __name__ == "__main__":
    main()
