"""Train the built-in pool: base, experts, unified baseline. Resumable; settings in builtin_pool.yaml.

    python -m studies.wordnet_types ../shared/data/foundation/multiconer2/train.jsonl --out runs/foundation/wordnet
    python -m studies.train_builtin_pool --data ../shared/data train        # train all parts into runs/builtin
    python -m studies.train_builtin_pool --data ../shared/data assemble     # write them to src/samner/pools/builtin
    python -m studies.train_builtin_pool --data ../shared/data taught       # say there which types its base was taught

How the first pool's base and recipe of experts were chosen, by leave-one-domain-out:

    python -m studies.train_builtin_pool --data ../shared/data --settings studies/first_pool.yaml compare
    python -m studies.train_builtin_pool --data ../shared/data --settings studies/first_pool.yaml variants

Every part is skipped where it is finished and resumed where it was stopped. Each can be a process of its own, with the
others beside it once the base is there; ``--minutes`` is then the part's:

    python -m studies.train_builtin_pool --data ../shared/data --minutes 2 base
    python -m studies.train_builtin_pool --data ../shared/data --settings studies/chosen_pool.yaml choose wide defined
    python -m studies.train_builtin_pool --data ../shared/data --minutes 7 expert news
    python -m studies.train_builtin_pool --data ../shared/data --minutes 43 unified
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from samner.backbones import TrainingData, TrainingSet
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.backbones.encoder.training import Recipe, train_base
from samner.cli.output import guarded
from samner.files import atomic_folder, read_json, write_json
from samner.pool import ExpertCard, ExpertPool
from samner.training import train_expert, training_set
from studies.leave_one_domain_out import f1
from studies.training_data import HERE, Datasets, read_settings
from studies.wordings import GLOSSES, definitions, other_wordings

PACKAGED = HERE.parent / "src" / "samner" / "pools" / "builtin"
SCORED_AT = 0.5
"""Threshold of the dev scores in training: that of a new base. The one it ships with is set afterwards."""
CHOSEN_BY = 40
"""Dev texts of a data set by which a base is chosen."""
MOST_NEGATIVES = 1000
"""Types of a data set at most for them to be negatives of others."""
log = logging.getLogger("train_builtin_pool")


class Trainer:
    """The data and settings that all parts share."""

    def __init__(
        self,
        data: Path,
        runs: Path,
        settings: Mapping[str, Any],
        minutes: float | None = None,
        device: str = "cpu",
    ) -> None:
        self.data = Datasets(data, runs)
        self.minutes = minutes
        self.device = device
        self.runs = runs
        self.settings = settings
        self.pool = runs / settings["name"]
        self.domains: dict[str, list[str]] = {name: list(sets) for name, sets in settings["domains"].items()}
        self.foundation = list(settings["foundation"])
        self.taught: list[str] = settings["base"].get("domains", list(self.domains))
        self.most: int | None = None
        self._sets: dict[tuple[str, str], TrainingSet] = {}

    def set(self, name: str, split: str) -> TrainingSet:
        """A data set's split, with the types of its train split; types the scoring leaves out teach nothing."""
        if (name, split) not in self._sets:
            types = None if split == "train" else self.set(name, "train").types
            self._sets[name, split] = training_set(name, self.data.examples(name, split), types)
        return self._sets[name, split]

    def lesson(self, names: Iterable[str]) -> TrainingData:
        """What teaches a base: the named sets, as often as the settings say, and of a domain at most its first texts.

        Negatives are types of those sets, and none of a set with thousands, of which some are in any text.
        """
        weights = self.settings["foundation"]
        train = [replace(self.set(n, "train"), weight=weights.get(n, {}).get("weight", 1.0)) for n in names]
        foreign = [t.prompt for s in train if len(s.types) <= MOST_NEGATIVES for t in s.types]
        train = [d if d.name in self.foundation else replace(d, examples=d.examples[: self.most]) for d in train]
        ways = other_wordings()
        if self.settings["base"].get("definitions"):
            ways = ways | {name: [*ways.get(name, ()), *more] for name, more in definitions(self.data, train).items()}
        return TrainingData(train, (), foreign, ways)

    def training_data(self, names: Iterable[str]) -> TrainingData:
        """What teaches an expert: the named sets with their dev splits; in a comparison their first texts alone."""
        train = [self.set(name, "train") for name in names]
        everything = [name for sets in self.domains.values() for name in sets]
        foreign = sorted({t.prompt for name in everything for t in self.set(name, "train").types})
        if self.most is not None:
            train = [replace(d, examples=d.examples[: self.most]) for d in train]
            return TrainingData(train, (), foreign, other_wordings())
        return TrainingData(train, [self.set(name, "dev") for name in names], foreign, other_wordings())

    def base(self, pool: Path, names: list[str], recipe: Recipe, *, encoder: bool) -> ExpertPool:
        """A pool over a base trained on the named sets; opened where that was done."""
        if not pool.is_dir():
            log.info("base on %d sets -> %s", len(names), pool)
            backbone = EncoderBackbone(device=self.device)
            run = pool.parent / f".{pool.name}-base"
            outcome = train_base(backbone, self.lesson(names), recipe, encoder=encoder, run=run, resume=True)
            for name in self.foundation:  # thousands of types, of which none is a safe negative for others
                backbone.types.pop(name, None)
            card = {
                "training": {"recipe": recipe.model_dump(), "outcome": asdict(outcome)},
                "data": self.sources(names),
                "taught": self.taught_types(names),
            }
            pool.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=pool.parent) as folder:
                backbone.save(Path(folder), torch.float16, card)
                ExpertPool.create(pool, Path(folder))
        return ExpertPool.load(pool, self.device)

    def taught_types(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Types by data set, for whoever asks what the base knows; not WordNet's thousands, each seen little."""
        return {name: [t.prompt for t in self.set(name, "train").types] for name in names if name != GLOSSES}

    def expert(self, pool: ExpertPool, name: str, names: list[str], options: Mapping[str, Any], folder: Path) -> None:
        """Train an expert on the named sets, unless that was done."""
        if folder.is_dir():
            return
        log.info("expert %s on %s -> %s", name, ", ".join(names), folder)
        train_expert(
            ExpertPool.load(pool.folder, pool.device),
            name,
            self.training_data(names),
            folder,
            options=options,
            description=self.settings["descriptions"][name],
            licences={source["name"]: source["licence"] for source in self.sources(names)},
            run=pool.folder.parent / f".{pool.folder.name}-{name}",
            resume=True,
        )

    def sources(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Data sets with their licences, for the cards."""
        stated = {
            k: v for sets in [self.settings["foundation"], *self.settings["domains"].values()] for k, v in sets.items()
        }
        return [
            {"name": name, "licence": stated[name]["licence"], "texts": len(self.set(name, "train").examples)}
            for name in names
        ]


def time_box(minutes: float | None) -> dict[str, float]:
    """The option that ends a part after so many minutes; nothing if there is no end."""
    return {} if minutes is None else {"max_minutes": minutes}


def compare(trainer: Trainer) -> None:
    """Train every variant of the base without the hidden domains, and all experts on it."""
    plan = trainer.settings["compare"]
    trainer.most = plan["texts"]
    for name, variant in plan["variants"].items():
        seen = [d for d in variant.get("domains", trainer.domains) if d not in plan["hidden"]]
        names = [s for d in seen for s in trainer.domains[d]]
        if variant.get("foundation"):
            names = [*trainer.foundation, *names]
        changes = {"paraphrase_rate": variant["paraphrase_rate"]}
        base = Recipe.of(trainer.settings["base"]["recipe"] | changes | {"steps": plan["base_steps"]})
        pool = trainer.base(trainer.runs / f"compare-{name}", names, base, encoder=variant["encoder"])
        options = trainer.settings["expert"]["recipe"] | changes | {"steps": plan["expert_steps"]}
        for domain, sets in trainer.domains.items():
            trainer.expert(pool, domain, sets, options, pool.folder / "experts" / domain)


def train_base_part(trainer: Trainer, minutes: float | None) -> ExpertPool:
    """The pool over the base that the settings say."""
    base = trainer.settings["base"]
    taught = [name for domain in trainer.taught for name in trainer.domains[domain]]
    recipe = Recipe.of(base["recipe"] | time_box(minutes))
    return trainer.base(trainer.pool, [*trainer.foundation, *taught], recipe, encoder=True)


def choose(trainer: Trainer, names: Iterable[str]) -> None:
    """Make the pool over a copy of the base, of those of the named pools, that reads the domains best by itself.

    For bases that no domain taught. By strict F1 on the dev splits, averaged over data sets and domains, at the
    threshold that suits each base best. What a foundation holds is no domain here.
    """
    if trainer.pool.is_dir():
        return
    domains = {d: [n for n in sets if n not in trainer.foundation] for d, sets in trainer.domains.items()}
    best: dict[str, float] = {}
    for name in names:
        backbone = ExpertPool.load(trainer.runs / name, trainer.device).backbone
        for threshold in (0.05, 0.1, 0.2, 0.3):
            scores = [
                [f1(backbone, list(dev.examples[:CHOSEN_BY]), dev.types, "base", threshold) for dev in sets]
                for sets in ([trainer.set(n, "dev") for n in names] for names in domains.values())
                if sets
            ]
            score = float(np.mean([np.mean(its) for its in scores]))
            log.info("base of %s, threshold %s: %.1f", name, threshold, 100 * score)
            best[name] = max(score, best.get(name, 0.0))
    chosen = max(best, key=lambda name: best[name])
    log.info("chosen: %s, of %s", chosen, best)
    ExpertPool.create(trainer.pool, trainer.runs / chosen / "base")


def train_expert_part(trainer: Trainer, domain: str, minutes: float | None) -> None:
    """A domain's expert, on the base that is there."""
    pool = ExpertPool.load(trainer.pool, trainer.device)
    options = trainer.settings["expert"]["recipe"] | time_box(minutes)
    trainer.expert(pool, domain, trainer.domains[domain], options, pool.folder / "experts" / domain)


def train_unified_part(trainer: Trainer, minutes: float | None) -> None:
    """The baseline: an adapter of all domains, by default for as many steps as all experts together."""
    pool = ExpertPool.load(trainer.pool, trainer.device)
    options = trainer.settings["expert"]["recipe"]
    options = options | {"steps": options["steps"] * len(trainer.domains)} | trainer.settings.get("unified", {})
    every = [name for sets in trainer.domains.values() for name in sets]
    trainer.expert(pool, "unified", every, options | time_box(minutes), pool.folder / "baselines" / "unified")


def train(trainer: Trainer) -> None:
    """Train the parts of the pool, one after another."""
    third = None if trainer.minutes is None else trainer.minutes / 3
    pool = train_base_part(trainer, third)
    for domain in trainer.domains:
        train_expert_part(trainer, domain, third and third / len(trainer.domains))
    train_unified_part(trainer, third)
    calibrate(trainer, pool.folder)


def variants(trainer: Trainer, names: Iterable[str]) -> None:
    """Train all experts by variants of their recipe, into a pool each over a copy of the pool's base."""
    for name in names:
        changes = trainer.settings["expert"]["variants"][name]
        folder = trainer.runs / f"{trainer.settings['name']}-{name}"
        if not folder.is_dir():
            ExpertPool.create(folder, trainer.pool / "base")
        pool = ExpertPool.load(folder, trainer.device)
        calibrate(trainer, folder)
        options = trainer.settings["expert"]["recipe"] | changes
        for domain, sets in trainer.domains.items():
            trainer.expert(pool, domain, sets, options, pool.folder / "experts" / domain)


def calibrate(trainer: Trainer, pool: Path) -> None:
    """Give a pool the threshold, the novelty and the parameters of merging that the settings say."""
    base, description = pool / "base" / "base.json", pool / "pool.json"
    write_json(base, read_json(base) | {key: trainer.settings["base"][key] for key in ("threshold", "novelty")})
    write_json(description, read_json(description) | {"merge": trainer.settings["merge"]})


def say_taught(trainer: Trainer, pool: Path) -> None:
    """Write into a pool's ``base.json`` which types taught its base; nothing that decides an answer changes."""
    path = pool / "base" / "base.json"
    card = read_json(path)
    write_json(path, card | {"taught": trainer.taught_types(source["name"] for source in card["data"])})


def assemble(trainer: Trainer, out: Path) -> None:
    """Copy the trained pool to where it is used, adapters in half precision."""
    with atomic_folder(out, overwrite=True) as target:
        shutil.copytree(trainer.pool, target, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        calibrate(trainer, target)  # the settings may have been set since it was trained
        for card in sorted(target.rglob("expert.json")):
            weights = card.parent / "adapter_model.safetensors"
            save_file({k: v.half() for k, v in load_file(weights).items()}, weights)
            ExpertCard.read(card.parent).write(card.parent)
        (target / "README.md").write_text(model_card(trainer, ExpertPool(target)), encoding="utf-8")


def model_card(trainer: Trainer, pool: ExpertPool) -> str:
    """The pool's card: what is in it and every data set with its licence."""
    base = read_json(pool.base_folder / "base.json")
    name, texts = trainer.settings["name"], trainer.settings["expert"]["recipe"]["dev_texts"]
    cards = [*pool.experts.values(), ExpertCard.read(pool.folder / "baselines" / "unified")]
    lines = [
        f"# The pool {name}",
        "",
        f"A base model and {len(pool.experts)} experts for English named entity recognition, over all-MiniLM-L6-v2",
        f"(Apache-2.0, from the package {base['sentence_encoder']['reference']}, whose token embeddings it uses",
        f"as they are). Made by `studies/train_builtin_pool.py` with `studies/{name}_pool.yaml`. Weights are in half",
        "precision.",
        f"Scores: strict span micro-F1 on the first {texts} texts of each dev split, averaged over data sets, at the",
        f"threshold {SCORED_AT} of training; the pool ships with {base['threshold']}.",
        f"Seconds are of {trainer.settings['machine']}.",
        "",
        "| part | steps | seconds | dev F1 |",
        "|---|---|---|---|",
    ]
    parts = [("base", base["training"]), *((card.name, card.training) for card in cards)]
    for name, training in parts:
        outcome = training["outcome"]
        score = "" if outcome["best_score"] is None else f"{outcome['best_score']:.3f}"
        lines.append(f"| {name} | {outcome['steps']} | {outcome['seconds']:.0f} | {score} |")
    lines += ["", "`unified` is a baseline for comparison (`baselines/`), not an expert.", "", "## Data", ""]
    lines += [
        "Licences as the sources state them; where none is stated, third parties may hold rights in the texts.",
        "",
    ]
    lines += ["| data set | taught | source | licence as stated |", "|---|---|---|---|"]
    for domain, sets in {"base": trainer.settings["foundation"], **trainer.settings["domains"]}.items():
        taught = f"base, {domain}" if domain in trainer.taught else domain
        lines += [f"| {name} | {taught} | {s['source']} | {s['licence']} |" for name, s in sets.items()]
    lines += [
        "",
        "Data sets under a non-commercial licence taught nothing here. No text of any data set is included.",
        "",
    ]
    return "\n".join(lines)


STAGES = {"compare": compare, "train": train}


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds foundation/ and train/")
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs", help="where parts and checkpoints go")
    parser.add_argument("--settings", type=Path, default=HERE / "builtin_pool.yaml")
    parser.add_argument("--out", type=Path, default=PACKAGED, help="where assemble and taught write; the package's")
    parser.add_argument(
        "--minutes", type=float, help="of the part; of train a third each for the base, the experts and unified"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    stages = ["base", "choose", "expert", "unified", *STAGES, "variants", "assemble", "taught"]
    parser.add_argument("stage", choices=stages)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of variants or experts, all by default; of pools to choose from"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_float32_matmul_precision("high")  # of the heads, on a GPU
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = read_settings(arguments.settings)
    trainer = Trainer(arguments.data, arguments.runs, settings, arguments.minutes, arguments.device)
    pools = arguments.names if arguments.stage == "choose" else ()
    known = {"choose": pools, "variants": settings["expert"]["variants"], "expert": trainer.domains}.get(
        arguments.stage, ()
    )
    if arguments.stage == "choose" and not pools:
        parser.error("choose: name the pools to choose from")
    if unknown := set(arguments.names) - set(known):
        there = f"there is: {', '.join(known)}" if known else "this stage takes no names"
        parser.error(f"{arguments.stage}: no {min(unknown)!r} in {arguments.settings}; {there}")
    names = arguments.names or list(known)
    if arguments.stage == "assemble":
        assemble(trainer, arguments.out)
    elif arguments.stage == "taught":
        say_taught(trainer, arguments.out)
    elif arguments.stage == "variants":
        variants(trainer, names)
    elif arguments.stage == "choose":
        choose(trainer, names)
    elif arguments.stage == "base":
        train_base_part(trainer, arguments.minutes)
    elif arguments.stage == "expert":
        for name in names:
            train_expert_part(trainer, name, arguments.minutes)
    elif arguments.stage == "unified":
        train_unified_part(trainer, arguments.minutes)
    else:
        STAGES[arguments.stage](trainer)


if __name__ == "__main__":
    main()
