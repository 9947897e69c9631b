"""Train bases by some files of settings one after another, and score each by itself on the domains that taught none.

    python -m studies.heads --data ../shared/data --runs runs trial filled competing spans

Strict F1 on the last dev texts of each set, averaged over data sets and domains, for some thresholds; the processor
time of each training. Data is read and cut into tokens once for all.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samner.backbones import BASE, Backbone
from samner.backbones.encoder import batches, training
from samner.backbones.encoder.training import Recipe
from samner.cli.output import guarded
from samner.scoring import micro_f1
from samner.spans import flat
from studies.train_builtin_pool import Trainer
from studies.training_data import HERE, read_settings

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
log = logging.getLogger("heads")
_LABELLED: dict[tuple[str, str], Any] = {}
_make = batches._Labelled


def _labelled(data: Any, tokenizer: Any, max_tokens: int, head: str) -> Any:
    if (data.name, head) not in _LABELLED:
        _LABELLED[data.name, head] = _make(data, tokenizer, max_tokens, head)
    return _LABELLED[data.name, head]


_fit = training.fit
_SPENT: list[float] = []


def _timed(parameters: Any, loss_at: Any, *rest: Any, **more: Any) -> Any:
    """``fit``, with the processor time that it takes noted."""
    start = time.process_time()

    def told(step: int) -> Any:
        if step % 100 == 0:
            log.info("step %d, %.0f s of processor", step, time.process_time() - start)
        return loss_at(step)

    outcome = _fit(parameters, told, *rest, **more)
    _SPENT.append(time.process_time() - start)
    return outcome


def score(backbone: Backbone, trainer: Trainer, texts: int) -> list[dict[str, float]]:
    """F1 of each threshold, on average and by domain; what is found at the lowest, cut."""
    values: list[dict[str, list[float]]] = [{} for _ in THRESHOLDS]
    for domain, names in trainer.domains.items():
        for name in names:
            if name in trainer.foundation:
                continue
            dev = trainer.set(name, "dev")
            examples = dev.examples[-texts:]
            found = backbone.predict([e.text for e in examples], dev.types, [BASE], THRESHOLDS[0])[BASE]
            for threshold, its in zip(THRESHOLDS, values, strict=True):
                kept = [flat([e for e in one if e.score >= threshold]) for one in found]
                f1 = micro_f1([e.entities for e in examples], kept, {t.name for t in dev.types})
                its.setdefault(domain, []).append(100 * f1)
    means = [{d: round(float(np.mean(v)), 1) for d, v in its.items()} for its in values]
    return [{"mean": round(float(np.mean(list(m.values()))), 2), **m} for m in means]


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs")
    parser.add_argument("--steps", type=int, help="of each, if not as the settings say")
    parser.add_argument("--texts", type=int, default=25)
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a file studies/NAME_pool.yaml")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_float32_matmul_precision("high")
    batches._Labelled = _labelled  # type: ignore[assignment,misc]
    training.fit = _timed
    sets: Any = {}
    for name in arguments.names:
        settings = read_settings(HERE / f"{name}_pool.yaml")
        trainer = Trainer(arguments.data, arguments.runs, settings)
        trainer._sets = sets
        steps = {"steps": arguments.steps} if arguments.steps else {}
        recipe = Recipe.of(settings["base"]["recipe"] | steps)
        begun = time.monotonic()
        base = trainer.base(trainer.pool, trainer.foundation, recipe, encoder=True).backbone
        took = {"processor_s": round(_SPENT.pop()) if _SPENT else None, "wall_s": round(time.monotonic() - begun)}
        print(json.dumps({"base": name, "steps": recipe.steps, **took}), flush=True)
        for competes in dict.fromkeys([base.competing, False]):
            base.competing = competes
            start = time.process_time()
            for threshold, f1 in zip(THRESHOLDS, score(base, trainer, arguments.texts), strict=True):
                print(json.dumps({"base": name, "competing": competes, "threshold": threshold, **f1}), flush=True)
            print(json.dumps({"base": name, "reading_s": round(time.process_time() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
