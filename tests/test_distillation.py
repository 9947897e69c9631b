from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from samner import ExpertPool
from samner.backbones import TrainingSet
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.backbones.encoder.batches import BatchPlan
from samner.backbones.encoder.training import Recipe
from samner.distillation import LEAST_TEXTS, Answers, ask, distil, teach
from samner.entities import Entity, Example, entity_types
from samner.errors import SamnerError
from samner.task_model import Merge, TaskModel

DRUGS = ("Aspirin", "Ibuprofen", "Triptan", "Codeine")
TEXTS = [f"{DRUGS[i % 4]} relieves {('headache', 'fever')[i % 2]} within {i} hours." for i in range(70)]
KNOWN = {drug: ("drug", 0.9) for drug in DRUGS} | {"headache": ("disease", 0.8), "fever": ("disease", 0.2)}
LEARNING = {"steps": 20, "learning_rate": 5e-3, "rank": 8, "evaluations": 1}
FAST = {"steps": 2, "rank": 2, "evaluations": 1}
"""Hardly anything is learnt: the pupil finds what its base does."""
Teacher = Callable[..., TaskModel]


@pytest.fixture
def teacher(lookup_backbone: Callable[..., Any]) -> Teacher:
    def make(phrases: dict[str, tuple[str, float]] = KNOWN, **settings: Any) -> TaskModel:
        types = entity_types(["drug", "disease", "person"])
        merges = {"similarity": Merge({"doctor": 1.0}, "one")}
        return TaskModel(lookup_backbone({"one": phrases}), Path("base"), types, "similarity", merges, {}, settings)

    return make


@pytest.fixture(scope="module")
def pool(tiny_pool: Path) -> ExpertPool:
    return ExpertPool(tiny_pool)


@pytest.fixture(scope="module")
def pupil(lookup_backbone: Callable[..., Any], pool: ExpertPool) -> tuple[TaskModel, list[str]]:
    said: list[str] = []
    slow = TaskModel(
        lookup_backbone({"one": KNOWN}),
        Path("base"),
        entity_types(["drug", "disease", "person"]),
        "similarity",
        {"similarity": Merge({"doctor": 1.0}, "one")},
        {},
        {"pool": "surgery"},
    )
    return distil(slow, [*TEXTS, TEXTS[0], " "], name="slow", pool=pool, options=LEARNING, tell=said.append), said


class TestDistil:
    def test_the_pupil_finds_what_its_teacher_does(self, pupil: tuple[TaskModel, list[str]]) -> None:
        found = pupil[0].predict(["Codeine relieves headache within 99 hours."])[0]
        assert [(e.text, e.label, e.found_by) for e in found] == [
            ("Codeine", "drug", ("distilled",)),
            ("headache", "disease", ("distilled",)),
        ]

    def test_types_the_teacher_is_seldom_sure_of_are_left_out_and_said(
        self, pupil: tuple[TaskModel, list[str]]
    ) -> None:
        model, said = pupil
        assert [t.name for t in model.types] == ["drug", "disease"]
        assert said == [
            "left out: person, of which the teacher is sure 0 times in 50 texts (3 needed)",
            "20 of the 70 texts, drawn at random, are held out",
        ]

    def test_it_is_known_where_it_comes_from(self, pupil: tuple[TaskModel, list[str]], tmp_path: Path) -> None:
        model, _ = pupil
        record = model.settings["distilled"]
        assert record["teacher"]["name"] == "slow" and record["teacher"]["pool"] == "surgery"
        assert record["teacher"]["experts"] == {"similarity": {"doctor": 1.0}}
        assert (record["learnt"], record["held_out"], record["left_out"]) == (50, 20, {"person": 0})
        assert record["agreement"] > 0.9
        model.save(tmp_path / "fast")
        loaded = TaskModel.load(tmp_path / "fast")
        assert loaded.settings == model.settings and loaded.predict(TEXTS) == model.predict(TEXTS)
        card = (tmp_path / "fast" / "README.md").read_text("utf-8")
        assert card == loaded.card and "Distilled from slow" in card and record["teacher"]["sha256"] in card
        assert "person (0)" in card

    def test_the_seed_decides_everything(self, teacher: Teacher, pool: ExpertPool) -> None:
        answers = ask(teacher(), TEXTS)
        first, second, other = (teach(answers, pool, seed=seed, options=FAST) for seed in (3, 3, 4))
        assert first.merges["distilled"].model == second.merges["distilled"].model
        assert first.merges["distilled"].model != other.merges["distilled"].model
        assert first.threshold == second.threshold

    def test_nothing_is_left_on_the_base_afterwards(self, teacher: Teacher, pool: ExpertPool) -> None:
        model = teach(ask(teacher(), TEXTS), pool, options=FAST)
        name = model.merges["distilled"].model
        assert name in pool.backbone.models
        model.close()
        assert name not in pool.backbone.models


class TestAsk:
    def test_what_counts_and_what_may_be_an_entity(self, teacher: Teacher) -> None:
        answers = ask(teacher(), TEXTS)
        text = answers.texts[1]
        assert {(e.label, e.score) for e in text.entities} == {("drug", 0.9), ("disease", 0.2)}
        assert [e.label for e in answers.counting(text).entities] == ["drug"]

    def test_other_labels_can_be_asked_for(self, teacher: Teacher) -> None:
        answers = ask(teacher(), TEXTS, {"disease": "an illness"})
        assert {e.label for text in answers.texts for e in text.entities} == {"disease"}

    def test_answers_are_kept_as_they_come(self, teacher: Teacher, tmp_path: Path) -> None:
        texts = [f"{text} Again {i}." for i in range(3) for text in TEXTS]
        slow = teacher()

        def stop(count: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ask(slow, texts, run=tmp_path, on_done=stop)
        read = {text for batch, _ in slow.backbone.calls for text in batch}
        slow.backbone.calls.clear()
        answers = ask(slow, texts, run=tmp_path)
        assert read and not read & {text for batch, _ in slow.backbone.calls for text in batch}
        slow.backbone.calls.clear()
        again = ask(slow, texts, run=tmp_path)
        assert not slow.backbone.calls and again == answers

    def test_answers_of_another_teacher_are_not_taken(self, teacher: Teacher, tmp_path: Path) -> None:
        ask(teacher(), TEXTS, run=tmp_path)
        other = teacher()
        other.threshold = 0.1
        ask(other, TEXTS, run=tmp_path)
        assert other.backbone.calls

    def test_few_texts_are_refused(self, teacher: Teacher) -> None:
        with pytest.raises(SamnerError, match=f"^49 different texts are too few .* at least {LEAST_TEXTS} are needed"):
            ask(teacher(), [*TEXTS[:49], *TEXTS[:49]])


class TestTeach:
    def test_a_teacher_that_finds_nothing_teaches_nothing(self, teacher: Teacher, pool: ExpertPool) -> None:
        with pytest.raises(SamnerError, match="^slow is sure of no entity in 50 texts .* give more texts"):
            distil(teacher({}), TEXTS, name="slow", pool=pool)

    def test_a_teacher_that_is_unsure_teaches_nothing(self, teacher: Teacher, pool: ExpertPool) -> None:
        rare = {f"{i}": ("person", 0.9) for i in range(2)}
        with pytest.raises(SamnerError, match="is sure of [12] entities of a type at most"):
            distil(teacher(rare), TEXTS, pool=pool)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"least": 0}, "least must be a whole number of at least 1"),
            ({"options": {"paces": 3}}, "paces"),
            ({"seed": -1}, "seed must be"),
        ],
    )
    def test_bad_arguments_are_named(
        self, teacher: Teacher, pool: ExpertPool, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SamnerError, match=message):
            distil(teacher(), TEXTS, pool=pool, **arguments)

    def test_a_finished_training_is_not_repeated(self, teacher: Teacher, pool: ExpertPool, tmp_path: Path) -> None:
        answers = ask(teacher(), TEXTS)
        whole = teach(answers, pool, options=FAST, run=tmp_path)
        (checkpoint,) = tmp_path.rglob("checkpoint.safetensors")
        before = load_file(checkpoint)
        again = teach(answers, pool, options=FAST, run=tmp_path)
        assert again.merges["distilled"].model == whole.merges["distilled"].model
        after = load_file(checkpoint)
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        with pytest.raises(SamnerError, match="belongs to a run with other data or settings"):
            teach(answers, pool, options={**FAST, "steps": 3}, run=tmp_path)


def test_scores_are_what_the_pupil_is_trained_towards(pool: ExpertPool) -> None:
    backbone = pool.backbone
    assert isinstance(backbone, EncoderBackbone)
    example = Example("Aspirin helps", (Entity(0, 7, "drug", 0.9), Entity(0, 13, "drug", 0.3)))
    data = TrainingSet("some", [example], entity_types(["drug"]))
    plan = BatchPlan([data], backbone.tokenizer, Recipe(steps=1), max_tokens=100, foreign={"some": ()}, paraphrases={})
    targets = plan[0][0].to(backbone.device).targets()
    assert targets[0, :, 0].tolist() == [pytest.approx([0.9, 0.9, 0.9]), pytest.approx([0, 0.3, 0.3])]


def test_answers_know_their_content() -> None:
    example = Example("Aspirin helps", (Entity(0, 7, "drug", 0.9),))
    kinds = entity_types(["drug"])
    some, same, other = (
        Answers(kinds, [example], {"drug": limit}, seconds, {}) for limit, seconds in ((0.2, 1), (0.2, 2), (0.3, 1))
    )
    assert some.digest == same.digest != other.digest
