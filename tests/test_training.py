from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samner import ExpertPool
from samner.backbones import TrainingData, TrainingSet
from samner.embedding import embed_domain
from samner.entities import Entity, Example, entity_types
from samner.errors import PoolError, SamnerError
from samner.scoring import score
from samner.spans import flat
from samner.training import LabelledSet, train_expert, training_data, training_set


def example(text: str, **entities: str) -> Example:
    spans = [(text.index(part), text.index(part) + len(part), label) for label, part in entities.items()]
    return Example(text, tuple(Entity(*span) for span in spans))


EXAMPLES = [
    example(f"The {river} flows through {city}.", river=river, city=city) for river, city in [("Rhine", "Bonn")]
]
FAST = {"steps": 2, "rank": 2}


@pytest.fixture(scope="module")
def pool(tiny_pool: Path) -> ExpertPool:
    return ExpertPool(tiny_pool)


class TestTrainingSet:
    def test_types_are_those_that_occur(self) -> None:
        assert training_set("geo", EXAMPLES).types == entity_types(["city", "river"])

    def test_catch_all_types_are_left_out(self) -> None:
        examples = [example("Rhine, 1998", river="Rhine", miscellaneous="1998")]
        assert training_set("geo", examples).types == entity_types(["river"])

    def test_types_can_be_given(self) -> None:
        types = entity_types({"river": "a stream", "lake": ""})
        assert training_set("geo", EXAMPLES, types).types == types

    def test_nothing_labelled_is_nothing_to_learn(self) -> None:
        for examples in ([], [Example("no entities here")]):
            with pytest.raises(SamnerError, match="geo: no text has an entity"):
                training_set("geo", examples)


class TestTrainingData:
    def test_the_dev_split_is_the_same_whether_it_is_told_or_not(self) -> None:
        examples = [Example(f"text {i}", (Entity(0, 4, "word"),)) for i in range(60)]
        lines: list[str] = []
        told = training_data([LabelledSet("x", examples)], tell=lines.append)
        assert told == training_data([LabelledSet("x", examples)])
        assert lines == ["x: 20 of its 60 texts, drawn at random, are held out as dev split"]


class TestTrainExpert:
    def test_the_card_tells_what_was_learnt_from_what(self, pool: ExpertPool, tmp_path: Path) -> None:
        sets = [
            training_set("geo", EXAMPLES * 3),
            training_set("sea", [example("Rhine and Elbe", river="Rhine", sea="Elbe")]),
        ]
        card = train_expert(
            pool,
            "waters",
            TrainingData(sets, dev=sets[:1]),
            tmp_path / "out",
            options={**FAST, "evaluations": 1},
            description="Knows rivers",
            licences={"geo": "CC0"},
        )
        assert (card.name, card.description, card.base) == ("waters", "Knows rivers", pool.backbone.fingerprint)
        assert card.types == ("city", "river", "sea")
        assert [(d.name, d.licence, d.texts) for d in card.data] == [("geo", "CC0", 3), ("sea", "not stated", 1)]
        assert card.training["recipe"]["steps"] == 2 and card.training["outcome"]["steps"] == 2
        assert card.training["outcome"]["best_score"] is not None
        expected = embed_domain([e.text for s in sets for e in s.examples])
        np.testing.assert_allclose(card.vector, expected, atol=1e-5)
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            "README.md",
            "expert.json",
            "adapter_config.json",
            "adapter_model.safetensors",
        }

    def test_the_pool_is_not_changed_and_takes_the_expert(self, tiny_pool: Path, tmp_path: Path) -> None:
        import shutil

        pool = ExpertPool(Path(shutil.copytree(tiny_pool, tmp_path / "pool")))
        train_expert(pool, "geo", TrainingData([training_set("geo", EXAMPLES)]), tmp_path / "geo", options=FAST)
        assert list(pool.experts) == ["medicine", "sports"]
        pool.add(tmp_path / "geo")
        assert list(pool.experts) == ["geo", "medicine", "sports"]
        assert pool.verify() == []

    def test_an_existing_folder_is_refused_before_any_work(
        self, pool: ExpertPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_work(*_: object, **__: object) -> None:
            pytest.fail("nothing should be trained")

        monkeypatch.setattr(pool.backbone, "train_expert", no_work)
        with pytest.raises(SamnerError, match="exists already"):
            train_expert(pool, "geo", TrainingData([training_set("geo", EXAMPLES)]), tmp_path)

    @pytest.mark.parametrize("name", ["../geo", "base", "a/b", ""])
    def test_names_that_will_not_do_are_refused(self, pool: ExpertPool, tmp_path: Path, name: str) -> None:
        with pytest.raises(PoolError, match="cannot name an expert"):
            train_expert(pool, name, TrainingData([training_set("geo", EXAMPLES)]), tmp_path / "out")

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"lr": 1}, "training option: lr: unknown setting"), ({"steps": 0}, "steps: input should be greater than 0")],
    )
    def test_options_that_will_not_do_leave_nothing(
        self, pool: ExpertPool, tmp_path: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SamnerError, match=message):
            train_expert(pool, "geo", TrainingData([training_set("geo", EXAMPLES)]), tmp_path / "out", options=options)
        assert list(tmp_path.iterdir()) == []

    def test_an_interruption_leaves_a_checkpoint_and_no_expert(
        self, pool: ExpertPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = TrainingData([training_set("geo", EXAMPLES)])
        monkeypatch.setattr("samner.training.embed_domain", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_expert(pool, "geo", data, tmp_path / "out", options=FAST, run=tmp_path / "run")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        monkeypatch.undo()
        train_expert(pool, "geo", data, tmp_path / "out", options=FAST, run=tmp_path / "run", resume=True)
        train_expert(pool, "geo", data, tmp_path / "whole", options=FAST)
        one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("out", "whole"))
        assert one == other


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_expert_learns_a_pattern_the_base_does_not_know(pool: ExpertPool, tmp_path: Path) -> None:
    """Forty sentences about two new types; what it finds in new sentences with new names is scored strictly."""
    frames = [
        "{a} flows through {b}.",
        "From {b} you can see {a}.",
        "We crossed {a} near {b} at dawn.",
        "{b} was flooded when {a} rose.",
    ]
    seen = (["Rhine", "Elbe", "Rio Grande", "Volga", "Seine"], ["Bonn", "New York", "Lyon", "Kazan", "Prague"])
    new = (["Danube", "Nile", "Red Deer", "Loire"], ["Vienna", "San Jose", "Cairo", "Tours"])

    def sentences(names: tuple[list[str], list[str]], shift: int) -> list[Example]:
        rivers, cities = names
        pairs = [(river, cities[(i + shift) % len(cities)]) for i, river in enumerate(rivers)]
        return [example(f.format(a=a, b=b), river=a, city=b) for f in frames for a, b in pairs]

    train = TrainingSet("geo", sentences(seen, 0) + sentences(seen, 2), entity_types(["river", "city"]))
    test = sentences(new, 1)
    assert len(train.examples) == 40 and len(test) == 16
    options = {"steps": 60, "learning_rate": 3e-3, "rank": 8, "batch_texts": 8}
    train_expert(pool, "geo", TrainingData([train]), tmp_path / "geo", options=options)
    backbone = pool.backbone
    backbone.add_expert("geo", tmp_path / "geo")
    try:
        answers = backbone.predict([e.text for e in test], train.types, ["base", "geo"], backbone.threshold)
    finally:
        backbone.remove("geo")
    f1 = {
        name: score(test, [flat(found) for found in answers[name]], train.types).strict.counts.f1 for name in answers
    }
    assert f1["base"] < 0.5
    assert f1["geo"] > 0.75
