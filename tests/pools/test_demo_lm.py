"""The demonstration language model that ships: whole, small, and every step on it real."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest

pytest.importorskip("llguidance")

from samner import ExpertPool, adapt
from samner.entities import Example, entity_types
from samner.scoring import score
from samner.spans import flat
from samner.task_model import TaskModel
from studies.demo_lm.generate import Names, labelled, read_fields, texts

DOMAINS, TARGETS = read_fields("domains"), read_fields("targets")
NAMES = Names()


def some(field, count: int, seed: str = "test") -> list[Example]:
    """Texts like those of the test split, but not those."""
    return [labelled(e, field.types) for e in islice(texts(field, "test", NAMES, random.Random(seed)), count)]


@pytest.fixture(scope="module")
def pool() -> ExpertPool:
    return ExpertPool.load("demo-lm")


@pytest.fixture(scope="module")
def adapted(pool: ExpertPool) -> TaskModel:
    field = TARGETS["pharma_news"]
    return adapt(pool, [example.text for example in some(field, 40, "unlabelled")], field.types)


def test_it_is_whole(pool: ExpertPool) -> None:
    assert sorted(pool.experts) == sorted(DOMAINS)
    assert pool.verify() == []


def test_it_ships_within_its_size_and_only_safe_files(pool: ExpertPool) -> None:
    files = [path for path in pool.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors", ".yaml"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_expert_knows_its_domain_better_than_the_base(pool: ExpertPool, domain: str) -> None:
    pool.load_experts([domain])
    gold, types = some(DOMAINS[domain], 20), entity_types(DOMAINS[domain].types)
    found = pool.backbone.predict([e.text for e in gold], types, [domain, "base"], pool.backbone.threshold)
    f1 = {name: score(gold, [flat(e) for e in entities], types).strict.counts.f1 for name, entities in found.items()}
    assert f1[domain] > max(0.8, f1["base"] + 0.1)


def test_similarity_chooses_the_experts_whose_domains_the_target_mixes(adapted: TaskModel) -> None:
    assert sorted(adapted.selections["similarity"].chosen) == sorted(TARGETS["pharma_news"].experts)


def test_a_merge_knows_types_that_no_one_expert_knows(pool: ExpertPool, adapted: TaskModel) -> None:
    gold = some(TARGETS["pharma_news"], 40)
    report = score(gold, adapted.predict([e.text for e in gold]), adapted.types)
    assert all(counts.f1 > 0.2 for counts in report.per_type.values())
    assert not any(set(TARGETS["pharma_news"].types) <= set(domain.types) for domain in DOMAINS.values())
    counts = sum((pool.backbone.statistics[m.model] for m in adapted.merges.values()), start=Counter())
    assert counts["answers"] == counts["valid"] > 0  # bound by the grammar
