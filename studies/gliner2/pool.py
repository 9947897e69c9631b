"""All experts of the training domains over a GLiNER2 model, the unified baseline, and the table of the seven targets.

    python -m studies.gliner2.pool --model fastino/gliner2-base-v1 --recipe recipes/gliner2-base.yaml \
        --data ../shared/data --out runs/gliner2-base

What is there is not made again, and a training that was stopped goes on. As a check of the path where there is no hub
and no GPU, over the model of ``studies/gliner2/base.py``:

    python -m studies.gliner2.pool --model runs/gliner2/base --data ../shared/data --out runs/gliner2 \
        --option steps=150 --option batch_tokens=512 --option max_words=60 --option evaluations=0 \
        --option dev_texts=10 --texts 50
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from samner.backbones import TrainingData, TrainingSet
from samner.backbones.gliner2.backbone import Gliner2Backbone
from samner.backbones.gliner2.base_card import CARD
from samner.benchmark.config import read_benchmark
from samner.benchmark.run import run
from samner.cli.output import guarded
from samner.pool import ExpertPool
from samner.settings import plain_value
from samner.training import ExpertRecipe, train_expert
from studies.training_data import POOL_DATA, Datasets, domains, read_settings

TARGETS = Path(__file__).parent / "targets.yaml"
DOMAINS = ("biomedical", "legal", "news", "social", "stem", "traffic")
MARK = "samner benchmark"
log = logging.getLogger("gliner2")


def make_pool(folder: Path, model: str, device: str) -> ExpertPool:
    """The pool in a folder; an empty one over the base or checkpoint if there is none."""
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            base = Path(model)
            if not (base / CARD).is_file():
                base = Path(scratch)
                Gliner2Backbone.create_base(base, model)
            folder.parent.mkdir(parents=True, exist_ok=True)
            ExpertPool.create(folder, base)
    return ExpertPool(folder, device)


def train(pool: ExpertPool, data: Path, options: dict[str, Any]) -> None:
    """Train the experts of all domains, and one adapter on all of them for as many steps together.

    Args:
        pool: The pool, which they are put into.
        data: The data folder.
        options: Of the trainings.
    """
    settings, found = read_settings(POOL_DATA), Datasets(data)

    @cache
    def lessons(name: str) -> tuple[TrainingSet, TrainingSet]:
        """A data set and its dev split."""
        return found.set(name), found.set(name, "dev")

    parts = domains(only=DOMAINS)
    places = {name: pool.folder / "experts" / name for name in parts}
    places["unified"] = pool.folder / "baselines" / "unified"
    parts["unified"] = [name for sets in parts.values() for name in sets]
    steps = pool.backbone.recipe().of(options).steps
    for part, names in parts.items():
        if places[part].is_dir():
            continue
        log.info("%s: %s", part, ", ".join(names))
        its = {**options, "steps": steps * len(DOMAINS)} if part == "unified" and steps else options
        licences = {n: s["licence"] for sets in settings["domains"].values() for n, s in sets.items()}
        started = pool.folder.parent / f".{part}"
        train_expert(
            pool,
            part,
            TrainingData(*zip(*map(lessons, names), strict=True)),
            places[part],
            options=its,
            description=settings["descriptions"][part].replace("seven", "six"),
            licences={name: licences[name] for name in names},
            run=started,
            resume=True,
        )
        shutil.rmtree(started, ignore_errors=True)
    pool.write_model_card(pool.folder.parent.name)


def measure(pool: Path, data: Path, out: Path, texts: int | None, device: str) -> str:
    """The table, as Markdown."""
    settings = yaml.safe_load(TARGETS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        if texts is not None:
            for target in settings["targets"].values():
                for name, most in ((target["test"], texts), (target["unlabeled"], 10 * texts)):
                    lines = (data / name).read_text(encoding="utf-8").splitlines(keepends=True)[:most]
                    (Path(scratch) / name).parent.mkdir(parents=True, exist_ok=True)
                    (Path(scratch) / name).write_text("".join(lines), encoding="utf-8")
            data = Path(scratch)
        config, table = Path(scratch) / "targets.yaml", Path(scratch) / "table.md"
        config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        table.write_text(f"<!-- {MARK}: begin -->\n<!-- {MARK}: end -->\n", encoding="utf-8")
        asked = read_benchmark(config, data=data, pools=[str(pool)])
        run(asked, out, into=table, device=device, command=f"python -m studies.gliner2.pool ({TARGETS.name})")
        return table.read_text(encoding="utf-8")


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", required=True, help="a GLiNER2 checkpoint: folder or hub id, maybe @revision; or folder of a base"
    )
    parser.add_argument("--recipe", type=Path, help="YAML with the options of the trainings")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="over the recipe's; repeated"
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--texts", type=int, help="read the first so many test texts of each target, adapt to ten times as many"
    )
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = dict(ExpertRecipe.read(arguments.recipe).options) if arguments.recipe else {}
    for pair in arguments.option:
        key, _, value = pair.partition("=")
        options[key] = plain_value(value, f"--option {pair}")
    pool = make_pool(arguments.out / "pool", arguments.model, arguments.device)
    train(pool, arguments.data, options)
    print(measure(pool.folder, arguments.data, arguments.out / "table", arguments.texts, arguments.device))


if __name__ == "__main__":
    main()
