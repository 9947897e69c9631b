"""From gliner2's adapters to a pool, an adapted model, and what gliner2 reads of its exports."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import samner
from samner import ExpertPool, TaskModel
from samner.embedding import MINILM, embed_domain
from samner.export import export_task_model
from samner.pool import ExpertCard
from tests import command_line
from tests.backbones.gliner2.conftest import write_texts
from tests.backbones.gliner2.test_parity import assert_same, loaded, some, theirs

TEXTS = write_texts(12)
LABELS = {"drug": "a medicine", "city": "", "person": ""}
THRESHOLDS = {"drug": 0.02, "city": -0.02, "person": 0.0}
"""By how much a label's threshold is above or below one that few spans reach."""


@pytest.fixture(scope="module")
def pool(
    base: Callable[[str], Path], adapter: Callable[[str, int], Path], tmp_path_factory: pytest.TempPathFactory
) -> ExpertPool:
    """Of three experts that are adapters as gliner2 writes them."""
    root = tmp_path_factory.mktemp("pool")
    made = ExpertPool.create(root / "pool", base("span"))
    for seed, name in enumerate(("news", "health", "travel"), 1):
        shutil.copytree(adapter("span", seed), root / name)
        ExpertCard(
            name=name,
            base=made.backbone.fingerprint,
            types=("drug", "city"),
            embedding=tuple(map(float, embed_domain(TEXTS[seed : seed + 3]))),
            embedding_model=MINILM,
        ).write(root / name)
        made.add(root / name)
    return made


@pytest.fixture(scope="module")
def model(pool: ExpertPool) -> TaskModel:
    adapted = samner.adapt(pool, TEXTS, LABELS, experts=2, samples=3, density=0.5)
    assert len({merge.model for merge in adapted.merges.values()}) in (1, 2)
    return adapted


def test_a_pool_of_them_is_sound(pool: ExpertPool) -> None:
    assert pool.verify() == []
    assert len(pool.adapter("news").modules) == len(pool.backbone.module_shapes())


def found(model: TaskModel, thresholds: Any, mode: str | None = None) -> list[dict[tuple[int, int, str], float]]:
    answers = model.predict(TEXTS, threshold=thresholds, overlaps="all", mode=mode)
    return [{e.key: e.score for e in its} for its in answers]


def test_what_is_exported_has_its_answers_in_gliner2_by_thresholds_of_labels(
    model: TaskModel, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    part = next(iter(model.merges))
    export_task_model(model, tmp_path / "fused", "fused")
    export_task_model(model, tmp_path / "peft", "peft", rank=300)
    fused = loaded(tmp_path / "fused" / part)
    least = some(fused, TEXTS)
    thresholds = {label: least + more for label, more in THRESHOLDS.items()}
    asked = {
        label: {"threshold": thresholds[label], **({"description": text} if text else {})}
        for label, text in LABELS.items()
    }
    mine = found(model, thresholds, part)
    for read in (fused, loaded(checkpoint("span"), tmp_path / "peft" / part)):
        that = theirs(read, TEXTS, 0.5, types=asked)
        for label, threshold in thresholds.items():
            its, other = ([{k: v for k, v in e.items() if k[2] == label} for e in found] for found in (mine, that))
            assert_same(its, other, threshold)


def test_a_union_of_two_task_models_is_what_either_finds(model: TaskModel, pool: ExpertPool) -> None:
    from samner.backbones import BASE

    deltas = model.backbone.task_vectors(next(iter(model.merges.values())).model)
    pool.backbone.add_task_model("other", {m: -d for m, d in deltas.items()})
    parts = [next(iter(model.merges.values())).model, "other", BASE]
    types = model.types
    together = pool.backbone.predict(TEXTS, types, parts, 0.5)
    with ThreadPoolExecutor(3) as threads:
        alone = list(threads.map(lambda part: pool.backbone.predict(TEXTS, types, [part], 0.5)[part], parts))
    for part, its in zip(parts, alone, strict=True):
        as_scores = [[{e.key: e.score for e in entities} for entities in answers] for answers in (together[part], its)]
        assert_same(as_scores[0], as_scores[1], 0.5)
    pool.backbone.remove("other")


def test_a_saved_model_answers_alike(model: TaskModel, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    again = TaskModel.load(tmp_path / "saved")
    assert_same(found(again, 0.6), found(model, 0.6), 0.6)


def test_the_page_for_users_of_gliner2_runs(
    pool: ExpertPool, adapter: Callable[[str, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "gliner2.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news").mkdir()
    shutil.copytree(pool.folder, tmp_path / "g2-pool")
    shutil.rmtree(tmp_path / "g2-pool" / "experts" / "news")
    shutil.copytree(adapter("span", 1), tmp_path / "news" / "final")
    first, second = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    exec(compile(first, "docs/gliner2.md", "exec"), {"unlabelled": TEXTS[:3]})
    exec(compile(second, "docs/gliner2.md", "exec"), {"some_of_its_texts": TEXTS[:3]})
    assert sorted(ExpertPool(tmp_path / "g2-pool").experts) == ["health", "news", "travel"]


def test_the_command_line_makes_a_pool_trains_and_extracts(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(line: str) -> str:
        return command_line.done(*line.split())

    monkeypatch.chdir(tmp_path)
    lines = [
        {"text": f"{drug} helps in Basel.", "entities": [{"start": 0, "end": len(drug), "label": "drug"}]}
        for drug in ("Aspirin", "Codeine")
    ]
    (tmp_path / "pills.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(f"pool create pool --model {checkpoint('boundary')} --family gliner2")
    recipe = Path(__file__).parents[3] / "recipes" / "gliner2-base.yaml"
    run(f"train pills.jsonl --recipe {recipe} --pool pool --name pills -o pills --option steps=2 --option rank=2")
    run("pool add pool pills")
    assert run("pool verify pool").split() == ["OK", "pills"]
    (tmp_path / "texts.txt").write_text("Aspirin helps in Basel.\n")
    (found,) = run("extract texts.txt --pool pool --labels drug,city --threshold 0.01").splitlines()
    assert all(e["text"] in "Aspirin helps in Basel." for e in json.loads(found)["entities"])
    for option, message in (("--dry-run", "--dry-run is for language models"), ("--option epochz=1", "epochz")):
        result = command_line.samner(*f"train pills.jsonl --pool pool --name x -o x {option}".split())
        assert result.exit_code and message in result.stderr
