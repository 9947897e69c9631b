"""The training of builtin-lm, on a tiny configuration: every part is made, and made once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("trl")

from samner import adapt
from samner.data import write_examples
from samner.entities import Entity, Example
from samner.files import read_json
from samner.pool import ExpertPool
from studies.builtin_lm.train import HERE, train
from studies.train_builtin_pool import Trainer
from studies.training_data import over, read_settings

SETS = {
    "foundation": {"foundation/words": {"licence": "none", "source": "here"}},
    "descriptions": {"medicine": "Drugs", "travel": "Cities", "unified": "Both"},
    "domains": {
        "medicine": {"train/drugs": {"licence": "none", "source": "here"}},
        "travel": {"train/cities": {"licence": "none", "source": "here"}},
    },
}
TINY = {
    "name": "tiny",
    "model": {"hidden": 16, "intermediate": 16, "layers": 1, "heads": 2, "context": 512},
    "tokenizer": {"plain": 300, "blank": 20, "texts": 10},
    "base": {"batch": 2, "schedule": {"steps": 2, "max_minutes": 1}},
    "expert": {"recipe": {"steps": 1, "batch": 2, "micro_batch": 2, "dev_texts": 2}},
}


def write(folder: Path, label: str, names: list[str]) -> None:
    rng = random.Random(label)
    for split in ("train", "dev"):
        drawn = [rng.choice(names) for _ in range(12)]
        examples = [Example(f"Take {n} now {i}.", (Entity(5, 5 + len(n), label),)) for i, n in enumerate(drawn)]
        write_examples(examples, folder / f"{split}.jsonl")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder = tmp_path_factory.mktemp("builtin_lm")
    write(folder / "data/foundation/words", "fruit", ["fig", "plum"])
    write(folder / "data/train/drugs", "drug", ["aspirin", "codeine"])
    write(folder / "data/train/cities", "city", ["Basel", "Oslo"])
    settings = over(read_settings(HERE / "settings.yaml"), TINY) | SETS
    trainer = Trainer(folder / "data", folder / "runs", settings)
    train(trainer, "cpu")
    return trainer


def test_the_pool_serves_like_any_other(trainer: Trainer) -> None:
    pool = ExpertPool.load(trainer.pool)
    assert sorted(pool.experts) == ["medicine", "travel"]
    assert [source.licence for source in pool.experts["medicine"].data] == ["none"]
    pool.load_baseline("unified")
    model = adapt(pool, ["Take aspirin in Basel."] * 3, ["drug"], experts=1)
    assert len(model.predict(["Take codeine."])) == 1


def test_the_base_tells_what_taught_it(trainer: Trainer) -> None:
    card = read_json(ExpertPool.load(trainer.pool).base_folder / "base.json")
    assert [source["name"] for source in card["data"]] == ["foundation/words", "train/drugs", "train/cities"]
    assert sorted(card["types"]) == ["train/cities", "train/drugs"]


def test_what_is_finished_is_not_trained_again(trainer: Trainer) -> None:
    before = {path: path.stat().st_mtime_ns for path in trainer.pool.rglob("*") if path.is_file()}
    train(trainer, "cpu")
    assert before == {path: path.stat().st_mtime_ns for path in trainer.pool.rglob("*") if path.is_file()}
