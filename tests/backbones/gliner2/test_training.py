from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from samner.backbones import TrainingData
from samner.backbones.gliner2.backbone import Gliner2Backbone
from samner.backbones.gliner2.layers import linear_layers, read_past, taught_layers
from samner.backbones.gliner2.training import Recipe, lesson, teach
from samner.entities import Entity, EntityType, Example
from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.training import training_set
from tests.backbones.gliner2.conftest import ARCHITECTURES
from tests.backbones.gliner2.test_parity import assert_same, loaded, some, theirs

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
FAST = {"steps": 12, "rank": 2, "alpha": 4, "learning_rate": 5e-3, "batch_tokens": 128, "dev_texts": 4}


def example(text: str, **entities: str) -> Example:
    spans = [(text.index(part), text.index(part) + len(part), label) for label, part in entities.items()]
    return Example(text, tuple(Entity(*span) for span in spans))


DATA = TrainingData(
    [
        training_set(
            "medicine",
            [
                example(f"{drug} helps {person} of {city}", drug=drug, person=person, city=city)
                for drug in ("Aspirin", "Codeine", "Ibuprofen")
                for person in ("Ada Moreno", "Omar Haddad")
                for city in ("Basel", "New York")
            ],
        )
    ]
)
DEV = TrainingData(DATA.train, DATA.train)
TEXTS = [e.text for e in DATA.train[0].examples]


@architectures
def test_an_expert_learns_and_gliner2_loads_it_as_it_is(
    base: Callable[[str], Path], checkpoint: Callable[[str], Path], architecture: str, tmp_path: Path
) -> None:
    backbone = Gliner2Backbone.load(base(architecture))
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    out = tmp_path / "expert"
    out.mkdir()
    record = backbone.train_expert(DATA, out, FAST, run=None, resume=False)
    assert record["outcome"]["steps"] == FAST["steps"]
    assert not backbone.model.training
    after = backbone.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert LoraAdapter.load(out).base == backbone.fingerprint
    tensors = load_file(out / "adapter_model.safetensors")
    learnt = {name for name, tensor in tensors.items() if "lora_B" in name and tensor.any()}
    assert all(name in learnt for name in tensors if "lora_B" in name and ".encoder." in name)
    assert any(".encoder." not in name for name in learnt)

    backbone.add_expert("mine", out)
    types: dict[str, dict[str, str]] = {t.name: {} for t in DATA.train[0].types}
    model = loaded(checkpoint(architecture), out)
    threshold = some(model, TEXTS, types)
    found = backbone.predict(TEXTS, DATA.train[0].types, ["mine"], threshold)["mine"]
    its = theirs(model, TEXTS, threshold, types=types)
    assert_same([{e.key: e.score for e in entities} for entities in found], its, threshold)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(base: Callable[[str], Path], tmp_path: Path) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    outs = [tmp_path / name for name in ("whole", "half", "rest")]
    for out in outs:
        out.mkdir()
    options = {**FAST, "dropout": 0.1, "evaluations": 0}
    backbone.train_expert(DATA, outs[0], options, run=None, resume=False)
    run = tmp_path / "run"
    run.mkdir()

    class Stopped(KeyboardInterrupt):
        pass

    taught = backbone.model.processor.__class__.collate_fn_train
    calls = 0

    def stop(*of: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise Stopped
        return taught(*of, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone.model.processor.__class__, "collate_fn_train", stop)
        with pytest.raises(Stopped):
            backbone.train_expert(DATA, outs[1], options, run=run, resume=False)
    backbone.train_expert(DATA, outs[2], options, run=run, resume=True)
    whole, resumed = (load_file(out / "adapter_model.safetensors") for out in (outs[0], outs[2]))
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-5) for name in whole)


def test_a_dev_split_is_judged_by(base: Callable[[str], Path], tmp_path: Path) -> None:
    record = Gliner2Backbone.load(base("span")).train_expert(
        DEV, tmp_path, {**FAST, "steps": 4, "evaluations": 2}, run=None, resume=False
    )
    assert [step["step"] for step in record["outcome"]["history"]] == [2, 4]
    assert 0 <= record["outcome"]["best_score"] <= 1


def test_all_weights_can_be_taught_each_at_a_rate_of_its_own(base: Callable[[str], Path]) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    weights = dict(backbone.model.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    rates = {name: 0.0 for name in weights if name.startswith("encoder.")}
    outcome = teach(backbone, weights, DATA, Recipe.of({**FAST, "steps": 3}), rates=rates)
    changed = {name for name, weight in weights.items() if not torch.equal(weight, before[name])}
    assert outcome.steps == 3
    assert not changed & rates.keys() and any(name.startswith("span_rep.") for name in changed)
    assert not backbone.model.training and not any(weight.requires_grad for weight in weights.values())


def test_a_lesson_has_whole_words_and_says_types_as_they_are_drawn(base: Callable[[str], Path]) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    types = [EntityType("drug", "a medicine"), EntityType("city"), EntityType("person")]
    given = Example("Beta-blockers of New York-based Ada", (Entity(5, 13, "drug"), Entity(17, 25, "city")))
    made = lesson(backbone, given, types, ["drug: a medicine", "town", "person"])
    assert made is not None
    text, schema, cost = made
    assert text == given.text
    assert schema["entities"] == {
        "drug": [{"text": "Beta-blockers", "start": 0, "end": 13}],
        "town": [{"text": "New York-based", "start": 17, "end": 31}],
        "person": [],
    }
    assert schema["entity_descriptions"] == {"drug": "a medicine"}
    assert cost > len(backbone.tokenize([text])[0].words)
    assert lesson(backbone, Example(" "), types, ["drug", "city", "person"]) is None


def test_two_types_are_never_said_by_one_name(base: Callable[[str], Path]) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    made = lesson(backbone, Example("Basel"), [EntityType("city"), EntityType("town")], ["place", "place"])
    assert made is not None and list(made[1]["entities"]) == ["place", "town"]


@architectures
def test_experts_lie_on_all_layers_that_entities_teach(base: Callable[[str], Path], architecture: str) -> None:
    model = Gliner2Backbone.load(base(architecture)).model
    every, taught, past = set(linear_layers(model)), set(taught_layers(model)), read_past(model)
    assert past <= every and not past & taught
    assert {name for name in every if name.startswith("encoder.")} <= taught
    assert {name.split(".")[0] for name in every - taught - past} <= {
        "classifier",
        "count_pred",
        "record_decoder",
        "relation_scorer",
    }


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SamnerError, match="unknown setting"):
        Recipe.of({"epochz": 3})
