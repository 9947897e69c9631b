"""Train builtin-lm, a language model of 35 million parameters and experts on real training domains. Resumable.

    python -m studies.wordnet_types ../shared/data/foundation/multiconer2/train.jsonl --out runs/foundation/wordnet
    python -m studies.builtin_lm.train --data ../shared/data                # into runs/builtin_lm
    samner benchmark docs/benchmark.yaml --pool runs/builtin_lm --data ../shared/data --out runs/lm-report

Made for one large GPU, where the time box of the base and the steps of the experts in settings.yaml come to less than
half an hour. Every part is skipped where it is finished and resumed where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import torch

from samner.backbones.fit import Schedule
from samner.backbones.language_model.base_card import CARD
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.cli.output import guarded
from samner.files import read_json, write_json
from samner.pool import ExpertPool
from studies.builtin_lm.lessons import Lessons, make_tokenizer
from studies.small_lm.base import PROMPT, train_base
from studies.small_lm.batches import Batches
from studies.train_builtin_pool import Trainer
from studies.training_data import read_settings

HERE = Path(__file__).parent


def train(trainer: Trainer, device: str) -> ExpertPool:
    """Train whatever part of the pool is not finished yet.

    Args:
        trainer: Data and settings; the pool is written to ``trainer.pool``.
        device: Torch device.
    """
    every = [name for sets in trainer.domains.values() for name in sets]
    base = trainer.runs / f".{trainer.pool.name}" / "base"
    if not base.is_dir():
        _base(trainer, [*trainer.foundation, *every], base, device)
    if not trainer.pool.is_dir():
        ExpertPool.create(trainer.pool, base)
    pool = ExpertPool.load(trainer.pool, device)
    recipe: dict[str, Any] = trainer.settings["expert"]["recipe"]
    for domain, sets in trainer.domains.items():
        trainer.expert(pool, domain, sets, recipe, pool.folder / "experts" / domain)
    unified = recipe | {"steps": recipe["steps"] * len(trainer.domains)}
    trainer.expert(pool, "unified", every, unified, pool.folder / "baselines" / "unified")
    return pool


def _base(trainer: Trainer, names: list[str], folder: Path, device: str) -> None:
    settings, data = trainer.settings, trainer.training_data(names)
    tokenizer = make_tokenizer(settings["tokenizer"], data)
    lessons = Lessons(tokenizer, load_prompt(PROMPT), data, settings["base"])
    batches = Batches(lessons.rows, settings["base"]["batch"], settings["base"]["seed"])
    schedule = Schedule(**settings["base"]["schedule"], seed=settings["base"]["seed"], checkpoint_minutes=1.0)
    types = {s.name: [t.prompt for t in s.types] for s in data.train if s.name not in trainer.foundation}
    sources = trainer.sources(names)
    run = folder.parent / "base-run"
    train_base(settings, tokenizer, [(batches, schedule)], types, run, folder, data=str(sources), device=device)
    write_json(folder / CARD, read_json(folder / CARD) | {"data": sources})


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds foundation/ and train/")
    parser.add_argument(
        "--runs", type=Path, default=HERE.parent.parent / "runs", help="where parts and checkpoints go"
    )
    parser.add_argument("--settings", type=Path, default=HERE / "settings.yaml")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    train(Trainer(arguments.data, arguments.runs, read_settings(arguments.settings)), arguments.device)


if __name__ == "__main__":
    main()
