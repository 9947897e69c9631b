from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samner.backbones import BASE, Backbone, TrainingData, TrainingSet, load_backbone
from samner.backbones.encoder import training
from samner.backbones.encoder.batches import Ahead, Lesson
from samner.backbones.encoder.training import Recipe
from samner.backbones.fit import CHECKPOINT, Schedule, dev_score
from samner.entities import Entity, Example, entity_types
from samner.errors import SamnerError

TYPES = entity_types(["drug", "disease"])


def data(*pairs: tuple[str, str]) -> TrainingSet:
    examples = [
        Example(
            f"{drug} cures {disease} now.",
            (
                Entity(0, len(drug), "drug"),
                Entity(len(drug) + 7, len(drug) + 7 + len(disease), "disease"),
            ),
        )
        for drug, disease in pairs
    ]
    return TrainingSet("medicine", examples, TYPES)


TRAIN = data(("Aspirin", "headache"), ("Codeine", "cough"), ("Triptan", "migraine"), ("Ibuprofen", "back pain"))
OPTIONS: dict[str, Any] = {"steps": 6, "rank": 2, "batch_texts": 2, "learning_rate": 1e-2}


@pytest.fixture
def base(tiny_pool: Path) -> Backbone:
    return load_backbone(tiny_pool / "base")


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def train(base: Backbone, out: Path, run: Path | None = None, resume: bool = False, **options: Any) -> dict[str, Any]:
    training = TrainingData([TRAIN], foreign=["planet", "river"])
    return base.train_expert(training, out, {**OPTIONS, **options}, run=run, resume=resume)


class TestTrainExpert:
    def test_the_base_stays_as_it_is(self, base: Any, tmp_path: Path) -> None:
        texts = ["Aspirin relieves headache within hours.", "Ada Moreno scored twice for Rovers on Sunday."]
        state = {name: value.clone() for name, value in base.encoder.state_dict().items()}
        before = base.predict(texts, TYPES, ["base"], 0.1)
        record = train(base, tmp_path / "expert")
        assert record["outcome"]["steps"] == 6 and record["recipe"]["rank"] == 2
        assert base.encoder.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[name]) for name, value in base.encoder.state_dict().items())
        assert base.predict(texts, TYPES, ["base"], 0.1) == before
        assert not any(parameter.requires_grad for parameter in base.encoder.parameters())
        assert not base.encoder.training

    def test_the_same_seed_gives_the_same_adapter(self, base: Backbone, tmp_path: Path) -> None:
        for name, seed in (("one", 3), ("same", 3), ("other", 4)):
            train(base, tmp_path / name, seed=seed)
        assert weights(tmp_path / "one") == weights(tmp_path / "same")
        assert weights(tmp_path / "one") != weights(tmp_path / "other")

    def test_what_was_interrupted_is_resumed_to_the_same_adapter(
        self, base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Schedule, "of", _often_saved(Schedule.of))
        train(base, tmp_path / "whole")
        steps = iter(range(3))

        class Stopping(Ahead):
            def __call__(self, step: int) -> list[Lesson]:
                if next(steps, None) is None:
                    raise KeyboardInterrupt
                return super().__call__(step)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(training, "Ahead", Stopping)
            train(base, tmp_path / "half", run=tmp_path / "run")
        assert (tmp_path / "run" / CHECKPOINT).is_file()
        assert not (tmp_path / "half").exists()
        train(base, tmp_path / "half", run=tmp_path / "run", resume=True)
        assert weights(tmp_path / "whole") == weights(tmp_path / "half")
        with pytest.raises(SamnerError, match="other data or settings"):
            train(base, tmp_path / "more", run=tmp_path / "run", resume=True, steps=7)

    def test_it_does_not_matter_what_the_base_holds(self, base: Backbone, tiny_pool: Path, tmp_path: Path) -> None:
        train(base, tmp_path / "one")
        base.add_expert("medicine", tiny_pool / "experts" / "medicine")
        before = base.predict([TRAIN.examples[0].text], TRAIN.types, ["medicine"], 0.05)
        train(base, tmp_path / "two")
        assert weights(tmp_path / "one") == weights(tmp_path / "two")
        assert base.predict([TRAIN.examples[0].text], TRAIN.types, ["medicine"], 0.05) == before

    def test_an_unknown_option_is_refused_before_any_work(self, base: Backbone, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match="training option: lr: unknown setting"):
            train(base, tmp_path / "expert", lr=1)
        assert not (tmp_path / "expert").exists()


def _often_saved(of: Callable[..., Schedule]) -> Callable[..., Schedule]:
    return lambda *arguments, **settings: of(*arguments, **settings, checkpoint_minutes=0)


class TestDevScore:
    def test_it_is_strict_f1_over_the_first_texts(self, base: Any) -> None:
        gold = data(("Aspirin", "headache"), ("Ibuprofen", "fever"))

        def answer(texts: list[str], f1: float) -> None:
            entities = {
                "Aspirin cures headache now.": [Entity(0, 7, "drug", 0.9), Entity(0, 13, "drug", 0.8)],
                "Ibuprofen cures fever now.": [Entity(0, 9, "disease", 0.9)],
            }
            base.read = lambda pieces, *_, **__: {BASE: [entities[piece.text] for piece in pieces]}
            assert dev_score(base, gold, len(texts)) == pytest.approx(f1)

        answer(["one"], 2 * 1 / (1 + 2))
        answer(["one", "two"], 2 * 1 / (2 + 4))

    def test_long_texts_are_read_in_parts(self, base: Any) -> None:
        text = "Aspirin cures headache now. " + "So it goes. " * 150 + "Codeine cures cough now."
        start = text.index("Codeine")
        gold = TrainingSet(
            "medicine", [Example(text, (Entity(0, 7, "drug"), Entity(start, start + 7, "drug")))], TYPES
        )

        def find(pieces: list[Any], *_: Any, **__: Any) -> dict[str, list[list[Entity]]]:
            assert len(pieces) > 1
            texts = [piece.text for piece in pieces]
            drugs = ("Aspirin", "Codeine")
            return {BASE: [[Entity(t.index(d), t.index(d) + 7, "drug") for d in drugs if d in t] for t in texts]}

        base.read = find
        assert dev_score(base, gold, 10) == 1.0


class TestRecipe:
    def test_options_change_the_defaults(self) -> None:
        recipe = Recipe.of({"steps": 30, "dropout": 0.0})
        assert (recipe.steps, recipe.dropout, recipe.rank) == (30, 0.0, Recipe().rank)

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(
            SamnerError, match="training option: lr: unknown setting; known are steps, epochs, learning_rate"
        ):
            Recipe.of({"lr": 1e-3})

    @pytest.mark.parametrize(
        "options",
        [
            {"steps": 0},
            {"epochs": -1},
            {"learning_rate": 0.0},
            {"rank": 0},
            {"batch_texts": 0},
            {"max_minutes": 0},
            {"dropout": 1.0},
            {"paraphrase_rate": -0.1},
        ],
    )
    def test_values_out_of_range_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(SamnerError, match=f"^training option: {next(iter(options))}: input should be"):
            Recipe.of(options)
