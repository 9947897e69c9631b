"""Teach a small GLiNER2 model of random weights by gliner2's own trainer, so that the path can be tried without a hub.

    python -m studies.gliner2.base --data ../shared/data --out runs/gliner2/base --steps 600

What it learns from are sets of general texts, none of the experts' domains and no target. It is no base to use: it has
no pre-training, and knows little.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from samner.backbones.batches import DrawnBatches
from samner.backbones.gliner2.training import Recipe, lesson
from samner.backbones.training import TrainingSet
from samner.files import atomic_folder
from samner.words import Tokens, Word
from studies.gliner2.model import make_model
from studies.training_data import Datasets

SETS = ("foundation/multiconer2", "wide/general/grobid_ner", "wide/finance/fire", "wide/dialogue/sgd")


def lessons(model: Any, sets: list[TrainingSet], count: int, max_types: int) -> list[dict[str, Any]]:
    """Records as gliner2's trainer takes them."""
    split = model.processor.word_splitter

    def tokenize(texts: list[str]) -> list[Tokens]:
        return [Tokens(text, tuple(Word(a, b, 1) for _, a, b in split(text, lower=False))) for text in texts]

    recipe = Recipe(max_types=max_types, max_words=40)
    words: Any = SimpleNamespace(tokenize=tokenize)
    batches = DrawnBatches(sets, recipe, {}, lambda *of: lesson(words, *of), lambda item: item[2])

    def items() -> Iterator[dict[str, Any]]:
        for step in itertools.count():
            for text, schema, _ in batches(step):
                yield {"input": text, "output": schema}

    return list(itertools.islice(items(), count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/gliner2/base"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--architecture", choices=["span", "boundary"], default="span")
    arguments = parser.parse_args()
    from gliner2.training.trainer import ExtractorTrainer, TrainingConfig

    torch.manual_seed(0)
    found = Datasets(arguments.data)
    sets = [found.set(name) for name in SETS]
    texts = [example.text for data in sets for example in data.examples]
    model = make_model(texts, architecture=arguments.architecture)
    records = lessons(model, sets, arguments.steps * arguments.batch, max_types=6)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(records)} texts", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        settings = TrainingConfig(
            output_dir=scratch,
            max_steps=arguments.steps,
            num_epochs=1,
            batch_size=arguments.batch,
            encoder_lr=1e-3,
            task_lr=1e-3,
            eval_strategy="no",
            logging_steps=100,
            num_workers=0,
            pin_memory=False,
            validate_data=False,
        )
        ExtractorTrainer(model, settings).train(records)
    with atomic_folder(arguments.out) as folder:
        model.eval().save_pretrained(str(folder))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
