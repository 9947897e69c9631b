"""The pool that ships: whole, within its size, honest about its data, and good for its main job."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from samner import ExpertPool, adapt
from samner.data import read_examples
from samner.scoring import score, scored_labels

DOMAINS = ["biomedical", "encyclopedia", "legal", "news", "social", "stem", "traffic"]
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def pool() -> ExpertPool:
    return ExpertPool.load("builtin")


def test_it_is_whole(pool):
    assert list(pool.experts) == DOMAINS
    assert pool.verify() == []


def test_it_ships_within_its_size_and_only_safe_files(pool):
    files = [path for path in pool.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 45 * MEGABYTE
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}


def test_its_card_lists_every_data_set_with_a_licence_that_allows_shipping(pool):
    card = (pool.folder / "README.md").read_text(encoding="utf-8")
    base = json.loads((pool.base_folder / "base.json").read_text(encoding="utf-8"))
    sources = [(s["name"], s["licence"]) for s in base["data"]]
    sources += [(s.name, s.licence) for expert in pool.experts.values() for s in expert.data]
    # WordNet, the encyclopedia, 21 wide sets, and all of the six training domains but one
    assert len({name for name, _ in sources}) == 43
    for name, licence in sources:
        assert name in card and licence in card
        assert not re.search(r"\bNC\b", licence) and "wikineural" not in name  # NCSA's is another's


def test_it_finds_the_entities_of_a_domain_nobody_labelled(pool):
    texts = [
        "Aspirin and ibuprofen relieve headache .",
        "Angela Merkel met Microsoft managers in Berlin .",
        "Patients with diabetes were given metformin in a London hospital .",
    ]
    model = adapt(pool, texts, ["person", "organization", "location", "chemical", "disease"])
    found = {(e["text"], e["label"]) for text in texts for e in model.predict_entities(text)}
    assert {("Angela Merkel", "person"), ("Berlin", "location"), ("London", "location")} <= found
    assert ("diabetes", "disease") in found and ("metformin", "chemical") in found
    assert len(found) <= 15


@pytest.mark.parametrize(("data_set", "expert"), [("biomedical/bc5cdr", "biomedical"), ("news/conll2003", "news")])
def test_texts_of_a_training_domain_choose_its_expert(pool, shared_data: Path, data_set, expert):
    dev = read_examples(shared_data / "train" / data_set / "dev.jsonl")[:60]
    labels = scored_labels(sorted({label for example in dev for label in example.labels()}))
    model = adapt(pool, [example.text for example in dev], labels)
    assert expert == model.selections["similarity"].ranking[0]
    predicted = model.predict([example.text for example in dev])
    wanted = {label.name for label in labels}
    gold = [type(e)(e.text, tuple(x for x in e.entities if x.label in wanted)) for e in dev]
    assert score(gold, predicted, labels).strict.counts.f1 > 0.4
