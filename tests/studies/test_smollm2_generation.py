"""The training of the pool that answers in JSON, on a tiny random model: every part is made, once, and assembled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file

from samner.data import write_examples
from samner.entities import Entity, Example, entity_types
from samner.files import read_json
from samner.pool import ExpertPool
from studies.smollm2 import free_answers, generation
from tests.backbones.language_model.tiny_llama import tiny_llama, tiny_tokenizer

DOMAINS = {"news": ["people"], "social": ["drugs", "few"]}
RECIPE = {"rank": 2, "alpha": 4, "steps": 1, "dev_texts": 1, "evaluations": 1, "metric": "f1"}


def write(folder: Path, label: str, name: str, count: int) -> None:
    for split in ("train", "dev"):
        texts = [f"Ask {name} {i}." for i in range(count)]
        write_examples([Example(t, (Entity(4, 4 + len(name), label),)) for t in texts], folder / f"{split}.jsonl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name, label, said, count in (("people", "person", "Ada", 9), ("drugs", "drug", "Aspirin", 64)):
        write(root / name, label, said, count)
    write(root / "few", "drug", "Codeine", 4)
    return root


@pytest.fixture(scope="module")
def pool(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExpertPool]:
    root = tmp_path_factory.mktemp("runs")
    tiny_llama().save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    settings = {**generation.SETTINGS["generation"], "recipe": RECIPE, "step_tokens": 300, "unified": {"steps": 2}}
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(generation, "MODEL", str(root / "model"))
        changed.setattr(generation, "DOMAINS", DOMAINS)
        changed.setitem(generation.SETTINGS, "generation", settings)
        pool = generation.open_pool(root / "pool", "cpu")
        for part in ("news", "social", "unified"):
            generation.train(pool, part, data, minutes=1)
        yield pool


def test_every_part_is_made_and_made_once(pool: ExpertPool, data: Path) -> None:
    assert ExpertPool(pool.folder).verify() == []
    cards = ExpertPool(pool.folder).experts
    assert {name: card.types for name, card in cards.items()} == {"news": ("person",), "social": ("drug",)}
    unified = read_json(pool.folder / "baselines" / "unified" / "expert.json")
    assert unified["description"].startswith("All six domains")
    assert (unified["training"]["recipe"]["steps"], unified["training"]["outcome"]["steps"]) == (2, 2)
    before = {path: path.stat().st_mtime_ns for path in pool.folder.rglob("*")}
    generation.train(pool, "news", data, minutes=1)
    assert before == {path: path.stat().st_mtime_ns for path in pool.folder.rglob("*")}


def test_what_is_assembled_is_whole_and_in_half_precision(pool: ExpertPool, tmp_path: Path) -> None:
    generation.assemble(ExpertPool(pool.folder), tmp_path / "pool")
    assembled = ExpertPool(tmp_path / "pool")
    assert assembled.verify() == [] and sorted(assembled.experts) == ["news", "social"]
    weights = load_file(assembled.folder / "experts" / "news" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert "asked by the prompt `json-short`" in (assembled.folder / "README.md").read_text(encoding="utf-8")


def test_a_small_data_set_has_more_than_its_share(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "DOMAINS", DOMAINS)
    (drugs, few) = generation.lessons(data, DOMAINS["social"], 10, 0).train
    assert (len(drugs.examples), len(few.examples)) == (8, 2)
    assert generation.lessons(data, DOMAINS["social"], 10, 0).train[0].examples == drugs.examples


def test_on_a_gpu_steps_are_long_and_questions_bounded() -> None:
    tokens, recipe = generation.settings("cuda:0", unified=False)
    assert tokens > generation.settings("cpu", unified=False)[0] and recipe["metric"] == "loss"
    _, unified = generation.settings("cuda", unified=True)
    assert unified["questions"] >= recipe["questions"] and unified["steps"] > recipe["steps"]


def test_parts_that_start_together_open_one_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_llama().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    monkeypatch.setattr(generation, "MODEL", str(tmp_path / "model"))
    with ThreadPoolExecutor(4) as threads:
        pools = list(threads.map(lambda _: generation.open_pool(tmp_path / "pool", "cpu"), range(4)))
    assert {pool.backbone.fingerprint for pool in pools} == {pools[0].backbone.fingerprint}


def test_free_answers_are_judged_once(pool: ExpertPool, tmp_path: Path) -> None:
    pool.load_experts(["news"])
    texts = [Example("Ask Ada 1.", (Entity(4, 7, "person"),)), Example("")]
    row = free_answers.measured(tmp_path / "row.json", pool, "news", texts, entity_types(["person"]))
    assert row["answers"] == 1 and 0 <= row["f1"] <= 1
    assert sum(row.get(kind, 0) for kind in ("valid", "repaired", "unreadable")) == 1
    asked = dict(pool.backbone.statistics["news"])
    assert free_answers.measured(tmp_path / "row.json", pool, "news", texts, entity_types(["person"])) == row
    assert pool.backbone.statistics["news"] == asked
    assert (free_answers.valid([row, row]), free_answers.mean_f1([row])) == (
        f"{100.0 * row.get('valid', 0):.1f} %",
        100 * row["f1"],
    )
