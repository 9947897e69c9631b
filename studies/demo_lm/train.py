"""Train the demonstration language model: base, six experts, unified baseline. Resumable; settings in settings.yaml.

    python -m studies.demo_lm.train                       # base and the first pool, into runs/demo_lm/0/pool
    python -m studies.demo_lm.train --seed 1              # other experts on the same base, for study.py
    python -m studies.demo_lm.train --assemble            # copy the one of seed 0 into the package

Every part is skipped where it is finished and resumed where it was stopped. Takes about an hour of one CPU core.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file, save_file

from samner.backbones import TrainingData
from samner.backbones.fit import Schedule
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.cli.output import guarded
from samner.data import read_examples
from samner.entities import EntityType, entity_types
from samner.errors import SamnerError
from samner.files import atomic_folder
from samner.pool import ExpertCard, ExpertPool
from samner.training import train_expert, training_set
from studies.demo_lm.generate import Names, labelled, read_fields, texts, write
from studies.demo_lm.lessons import COMMON, Lessons
from studies.small_lm.base import PROMPT, train_base
from studies.small_lm.batches import Batches
from studies.small_lm.tokenizer import train_tokenizer

HERE = Path(__file__).parent
PACKAGED = HERE.parent.parent / "src" / "samner" / "pools" / "demo_lm"
LICENCE = "Apache-2.0 (made by this project)"
_MOST_BYTES = 10_000_000

CARD = """# The demonstration LM

A Llama of two million parameters with its own tokenizer and six LoRA experts, trained from nothing by
`python -m studies.demo_lm.train` on sentences that `studies/demo_lm` makes up. It is there to show and to test every
step on language models; it knows no real text. Apache-2.0. `baselines/unified` is one adapter trained on all six
domains, for comparison.
"""

log = logging.getLogger("train_demo_lm")


def train(settings: Mapping[str, Any], runs: Path, seed: int) -> Path:
    """Train whatever part of a pool is not finished yet; the seed is of everything but the texts and the base.

    Returns:
        The pool's folder.
    """
    data, run = runs / "data", runs / str(seed)
    if not data.is_dir():
        with atomic_folder(data) as temporary:
            write(temporary)
    base, pool = runs / "base", run / "pool"
    if not base.is_dir():
        _base(settings, runs / ".base", base)
    if not pool.is_dir():
        ExpertPool.create(pool, base)
    domains = list(read_fields("domains"))
    for name in domains:
        _expert(settings, data, pool, name, [name], pool / "experts" / name, seed)
    _expert(settings, data, pool, "unified", domains, pool / "baselines" / "unified", seed, settings["unified"])
    return pool


def make_tokenizer(settings: Mapping[str, Any]) -> Any:
    """A tokenizer of what the base will read and write: questions and answers about texts of all its fields."""
    names, rng, prompt = Names(), random.Random("tokenizer"), load_prompt(PROMPT)
    corpus = []
    for field in [*read_fields("domains").values(), *read_fields("base").values()]:
        stream = texts(field, "train", names, rng, common=COMMON)
        for example in (labelled(next(stream), field.types) for _ in range(settings["texts"])):
            types = [EntityType(name) for name in field.types]
            mentions = [(example.text[e.start : e.end], e.label) for e in example.entities]
            question = prompt.plain(prompt.questions(example.text, types)[0])
            corpus.append(question + prompt.answer(mentions, types)[0])
    return train_tokenizer(corpus, settings["plain"], settings["blank"])


def _base(settings: Mapping[str, Any], run: Path, folder: Path) -> None:
    tokenizer, base = make_tokenizer(settings["tokenizer"]), settings["base"]
    phases = []
    for seed, phase in enumerate(base["phases"], start=base["seed"]):
        lessons = Lessons(tokenizer, load_prompt(PROMPT), phase["lessons"])
        schedule = Schedule(**phase["schedule"], seed=seed, checkpoint_minutes=1.0)
        phases.append((Batches(lessons.rows, base["batch"], seed), schedule))
    types = {name: list(field.types) for name, field in read_fields("base").items()}
    train_base(settings, tokenizer, phases, types, run, folder)


def _expert(
    settings: Mapping[str, Any],
    data: Path,
    pool: Path,
    name: str,
    domains: Sequence[str],
    out: Path,
    seed: int,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Train an expert by samner's own means, unless that was done."""
    if out.is_dir():
        return
    log.info("expert %s", name)
    loaded = ExpertPool(pool)
    fields = read_fields("domains")
    splits = {
        split: [
            training_set(d, read_examples(data / d / f"{split}.jsonl"), entity_types(fields[d].types)) for d in domains
        ]
        for split in ("train", "dev")
    }
    train_expert(
        loaded,
        name,
        TrainingData(splits["train"], splits["dev"], loaded.backbone.known_types()),
        out,
        options={**settings["expert"]["recipe"], **(changes or {}), "seed": seed},
        description=settings["descriptions"][name],
        licences=dict.fromkeys(domains, LICENCE),
        run=pool.parent / f".{name}",
        resume=True,
    )


def assemble(pool: Path) -> None:
    """Copy a trained pool into the package, adapters in half precision.

    Raises:
        SamnerError: If it is too large to ship.
    """
    with atomic_folder(PACKAGED, overwrite=True) as target:
        shutil.copytree(pool, target, dirs_exist_ok=True)
        for card in sorted(target.rglob("expert.json")):
            weights = card.parent / "adapter_model.safetensors"
            save_file({k: v.half() for k, v in load_file(weights).items()}, weights, {"format": "pt"})
            ExpertCard.read(card.parent).write(card.parent)
        (target / "README.md").write_text(CARD, encoding="utf-8")
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        if size > _MOST_BYTES:
            raise SamnerError(f"{pool}: takes {size:,} bytes, more than the {_MOST_BYTES:,} that may ship")
        log.info("%s: %.1f MB", PACKAGED, size / 1e6)


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=HERE.parent.parent / "runs" / "demo_lm", help="where parts go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=Path, default=HERE / "settings.yaml")
    parser.add_argument("--assemble", action="store_true", help="copy the trained pool into the package")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))
    pool = train(settings, arguments.runs, arguments.seed)
    if arguments.assemble:
        assemble(pool)


if __name__ == "__main__":
    main()
