from __future__ import annotations

from pathlib import Path

import pytest
import torch

from samner.backbones import BASE
from samner.backbones.language_model.token_classification.backbone import TokenClassifier
from samner.backbones.language_model.token_classification.network import Heads
from samner.backbones.language_model.token_classification.training import Recipe, train_base
from samner.backbones.training import TrainingData, TrainingSet
from samner.entities import Entity, Example, entity_types
from samner.errors import SamnerError

NAMES = ["Ada", "Basel", "Moreno", "Rovers"]


def data() -> TrainingData:
    """Whoever lives is a person, wherever one lives a city."""
    examples = [
        Example(f"{a} lives in {b}.", (Entity(0, len(a), "person"), Entity(len(a) + 10, len(a) + 10 + len(b), "city")))
        for a in NAMES
        for b in NAMES
    ]
    made = TrainingSet("places", examples, entity_types(["person", "city"]))
    return TrainingData([made], [made])


def test_a_base_learns_and_leaves_the_language_model_as_it_was(classifier: TokenClassifier) -> None:
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    heads = Heads(classifier.model.config.hidden_size)
    recipe = Recipe(steps=60, learning_rate=2e-2, rank=4, alpha=8, batch_tokens=400, evaluations=1)
    own, outcome = train_base(classifier.model, heads, classifier.reader, data(), recipe)
    assert outcome.best_score is not None
    assert outcome.best_score > 0.9
    assert all(torch.equal(before[n.replace(".base_layer", "")], v) for n, v in classifier.model.state_dict().items())
    assert all(name.startswith("base_model.model.layers.") for name in own)


def test_an_expert_learns_over_frozen_heads_and_can_be_added(classifier: TokenClassifier, tmp_path: Path) -> None:
    heads = {name: value.clone() for name, value in classifier.heads.state_dict().items()}
    options = {"steps": 80, "learning_rate": 2e-2, "rank": 4, "alpha": 8, "batch_tokens": 400, "evaluations": 1}
    record = classifier.train_expert(data(), tmp_path / "expert", options, run=tmp_path / "run", resume=False)
    assert record["outcome"]["best_score"] > 0.5
    assert record["recipe"]["rank"] == 4
    assert all(torch.equal(heads[name], value) for name, value in classifier.heads.state_dict().items())
    classifier.add_expert("places", tmp_path / "expert")
    found = classifier.predict(["Ada lives in Rovers."], entity_types(["person", "city"]), [BASE, "places"], 0.2)
    assert {e.key for e in found["places"][0]} != {e.key for e in found[BASE][0]}


def test_a_run_goes_on_where_it_was_stopped(classifier: TokenClassifier, tmp_path: Path) -> None:
    options = {"steps": 6, "learning_rate": 1e-2, "rank": 2, "alpha": 4, "batch_tokens": 300, "evaluations": 0}
    classifier.train_expert(data(), tmp_path / "one", options, run=tmp_path / "run", resume=False)
    record = classifier.train_expert(data(), tmp_path / "two", options, run=tmp_path / "run", resume=True)
    assert record["outcome"]["steps"] == 6
    weights = "adapter_model.safetensors"
    assert (tmp_path / "one" / weights).read_bytes() == (tmp_path / "two" / weights).read_bytes()


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("rank", 1.5), ("flatten", 2), ("speed", 1)])
def test_bad_options_are_named(classifier: TokenClassifier, tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(SamnerError, match=option):
        classifier.train_expert(data(), tmp_path / "expert", {option: value}, run=None, resume=False)
