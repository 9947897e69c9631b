from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from samner.backbones import TrainingSet
from samner.backbones.encoder.batches import Ahead, BatchPlan, Lesson
from samner.backbones.encoder.tokens import WordTokenizer
from samner.backbones.encoder.training import Recipe
from samner.entities import Entity, Example, entity_types
from samner.errors import SamnerError


def example(text: str, **entities: str) -> Example:
    spans = [(text.index(part), text.index(part) + len(part), label) for label, part in entities.items()]
    return Example(text, tuple(Entity(*span) for span in spans))


CPU = torch.device("cpu")
MEDICINE = TrainingSet(
    "medicine",
    [example(f"{drug} relieves back pain.", drug=drug, disease="back pain") for drug in ("Aspirin", "Codeine")]
    + [example(f"Nobody knows why, said number {i}.") for i in range(20)],
    entity_types({"drug": "a medicine", "disease": "", "gene": ""}),
)
SPORTS = TrainingSet(
    "sports",
    [example(f"Ada scored {i} goals for the Rovers.", person="Ada", team="Rovers") for i in range(5)],
    entity_types(["person", "team"]),
)


def plan(tokenizer: WordTokenizer, *sets: TrainingSet, **settings: Any) -> BatchPlan:
    given: dict[str, Any] = {
        "max_tokens": 254,
        "foreign": {"medicine": ["river", "planet", "song"], "sports": ["river"]},
        "paraphrases": {},
        "embed": None,
    }
    given |= {name: settings.pop(name) for name in given.keys() & settings.keys()}
    defaults: dict[str, Any] = {"steps": 30, "epochs": 1.0, "batch_tokens": 64, "batch_texts": 4, "foreign_types": 2}
    return BatchPlan(sets, tokenizer, Recipe(**{**defaults, **settings}), **given)


def prompts_of(batches: BatchPlan, batch: Lesson) -> list[str]:
    return [batches.prompts[i] for i in batch.prompts]


def one_part(batches: BatchPlan, step: int = 0) -> Lesson:
    (part,) = batches[step]
    return part.to(CPU)


def as_lists(batches: BatchPlan, step: int) -> Any:
    batch = one_part(batches, step)
    content = (batch.texts.input_ids, batch.asked, batch.targets())
    return prompts_of(batches, batch), *(tensor.tolist() for tensor in content), batches.names(step)


class TestPlan:
    def test_a_batch_is_a_function_of_seed_and_step(self, tokenizer: WordTokenizer) -> None:
        one, same = (plan(tokenizer, MEDICINE, SPORTS) for _ in range(2))
        other = plan(tokenizer, MEDICINE, SPORTS, seed=1)
        forwards = [as_lists(one, step) for step in range(30)]
        backwards = [as_lists(same, step) for step in reversed(range(30))][::-1]
        assert forwards == backwards
        assert forwards != [as_lists(other, step) for step in range(30)]

    def test_the_targets_of_a_hand_made_example(self, tokenizer: WordTokenizer) -> None:
        data = TrainingSet("medicine", [MEDICINE.examples[0]], MEDICINE.types)
        batches = plan(tokenizer, data, steps=1, foreign={"medicine": ["river"]})
        batch = one_part(batches)
        assert batches.names(0) == ["medicine"] and len(batches) == 1
        # those that occur first, then the other own types, then foreign ones
        assert prompts_of(batches, batch) == ["drug: a medicine", "disease", "gene", "river"]
        assert batch.texts.shape == (1, 5)  # Aspirin relieves back pain .
        assert batch.asked.tolist() == [[True] * 4]
        expected = torch.zeros(1, 5, 4, 3)
        expected[0, 0, 0, :] = 1  # Aspirin starts, ends and lies inside a drug
        expected[0, 2, 1, 0] = expected[0, 3, 1, 1] = 1
        expected[0, 2:4, 1, 2] = 1
        assert torch.equal(batch.targets(), expected)

    def test_a_batch_is_of_one_data_set_and_asks_for_what_occurs_in_it(self, tokenizer: WordTokenizer) -> None:
        batches = plan(tokenizer, MEDICINE, SPORTS, max_types=2)
        seen = set()
        for step in range(30):
            batch = one_part(batches, step)
            (name,), prompts = batches.names(step), prompts_of(batches, batch)
            seen.add(name)
            own = {t.prompt for t in (MEDICINE if name == "medicine" else SPORTS).types}
            mine = [prompt for prompt in prompts if prompt in own]
            assert prompts[: len(mine)] == mine and len(mine) == 2
            foreign = prompts[len(mine) :]
            assert len(foreign) == len(set(foreign)) == (2 if name == "medicine" else 1)
            assert set(foreign) <= {"river", "planet", "song"}
            assert not batch.targets()[:, :, len(mine) :].any()
            assert batch.asked.all()
        assert seen == {"medicine", "sports"}

    def test_texts_of_several_data_sets_are_asked_for_their_own_types_alone(self, tokenizer: WordTokenizer) -> None:
        batches = plan(tokenizer, MEDICINE, SPORTS, sets_per_batch=4, batch_texts=8, batch_tokens=256)
        mixed = 0
        for step in range(30):
            batch, names = one_part(batches, step), batches.names(step)
            assert len(names) == 4
            mixed += len(set(names)) > 1
            targets, prompts = batch.targets(), prompts_of(batches, batch)
            assert not targets[~batch.asked[:, None, :].expand(targets.shape[:3])].any()
            for row, ids in enumerate(self.texts(batches, step)):
                data = next(s for s in (MEDICINE, SPORTS) if ids in [self.ids(tokenizer, e.text) for e in s.examples])
                asked = {prompt for prompt, its in zip(prompts, batch.asked[row], strict=True) if its}
                assert {t.prompt for t in data.types} <= asked
                assert asked.isdisjoint({t.prompt for s in (MEDICINE, SPORTS) if s is not data for t in s.types})
        assert mixed > 20

    def test_what_is_long_is_read_apart(self, tokenizer: WordTokenizer) -> None:
        long = TrainingSet("long", [example("Ada " + "ran " * 40, person="Ada")] * 2, entity_types(["person"]))
        batches = plan(
            tokenizer, MEDICINE, long, sets_per_batch=4, batch_tokens=80, foreign={"medicine": [], "long": []}
        )
        for step in range(30):
            parts, names = [part.to(CPU) for part in batches[step]], batches.names(step)
            assert sum(len(part.asked) for part in parts) >= 4
            assert len(parts) >= len(set(names))
            lengths = [part.texts.attention_mask.sum(1) for part in parts]
            assert all(its.max() < 2 * its.min() for its in lengths)

    def test_types_that_occur_are_asked_for_however_many(self, tokenizer: WordTokenizer) -> None:
        batches = plan(tokenizer, SPORTS, max_types=1, foreign_types=0)
        batch = one_part(batches)
        assert prompts_of(batches, batch) == ["person", "team"]
        assert batch.targets()[..., 0].sum() == 2 * batch.texts.shape[0]

    def test_hard_negatives_are_like_what_occurs(self, tokenizer: WordTokenizer) -> None:
        names = [f"type {i}" for i in range(100)]
        data = TrainingSet("many", [Example("Ada ran.", (Entity(0, 3, "type 0"),))], entity_types(names))

        def embed(prompts: Sequence[str]) -> npt.NDArray[np.float32]:
            angles = np.array([int(prompt.split()[1]) for prompt in prompts], dtype=np.float32) / 50
            return np.stack([np.cos(angles), np.sin(angles)], axis=1)

        batches = plan(tokenizer, data, max_types=9, near_types=0.5, foreign={"many": []}, embed=embed)
        asked = [
            [int(prompt.split()[1]) for prompt in prompts_of(batches, one_part(batches, step))] for step in range(30)
        ]
        assert all(len(set(one)) == 9 and one[0] == 0 for one in asked)
        near = [sum(0 < i <= 16 for i in one) for one in asked]
        assert min(near) >= 4 and max(near) < 8
        with pytest.raises(SamnerError, match="hard negatives need the embeddings"):
            plan(tokenizer, data, near_types=0.5, foreign={"many": []})

    def test_an_epoch_shows_every_text_once(self, tokenizer: WordTokenizer) -> None:
        batches = plan(tokenizer, MEDICINE, steps=None, epochs=2.0)
        half = batches.steps // 2
        for first in (0, half):
            rows = [row for step in range(first, first + half) for row in self.texts(batches, step)]
            assert sorted(rows) == sorted(self.ids(tokenizer, e.text) for e in MEDICINE.examples)

    def ids(self, tokenizer: WordTokenizer, text: str) -> list[int]:
        return [piece for word in tokenizer([text])[0].ids for piece in word]

    def texts(self, batches: BatchPlan, step: int) -> list[list[int]]:
        batch = one_part(batches, step).texts
        rows = zip(batch.input_ids.tolist(), batch.attention_mask.sum(1).tolist(), strict=True)
        return [ids[1 : used - 1] for ids, used in rows]

    @pytest.mark.parametrize(("budget", "most"), [(64, 4), (16, 8), (8, 3), (1, 2)])
    def test_batches_keep_to_their_sizes(self, tokenizer: WordTokenizer, budget: int, most: int) -> None:
        batches = plan(tokenizer, MEDICINE, batch_tokens=budget, batch_texts=most)
        for step in range(30):
            costs = [len(ids) for ids in self.texts(batches, step)]
            assert len(costs) <= most
            assert len(costs) * max(costs) <= budget or len(costs) == 1

    @pytest.mark.parametrize(
        ("power", "weight", "share"), [(0.5, 1.0, 8 / 10), (1.0, 1.0, 16 / 17), (0.0, 3.0, 1 / 4)]
    )
    def test_data_sets_are_drawn_by_size_and_weight(
        self, tokenizer: WordTokenizer, power: float, weight: float, share: float
    ) -> None:
        small = TrainingSet("small", [example("Rio is a city.")] * 4, entity_types(["city"]), weight)
        large = TrainingSet("large", [example("Ada is a person.")] * 64, entity_types(["person"]))
        foreign: dict[str, list[str]] = {"small": [], "large": []}
        batches = plan(tokenizer, small, large, steps=2000, foreign=foreign, batch_texts=1, size_power=power)
        drawn = np.mean([batches.names(step) == ["large"] for step in range(2000)])
        assert drawn == pytest.approx(share, abs=0.04)

    def test_a_long_text_is_cut_and_entities_across_a_cut_teach_nothing(self, tokenizer: WordTokenizer) -> None:
        text = "dog runs and cats sit down here now"  # every word is one sub-token
        across = Entity(text.index("cats"), text.index(" down"), "animal")
        data = TrainingSet("zoo", [Example(text, (Entity(0, 3, "animal"), across))], entity_types(["animal"]))
        batches = plan(tokenizer, data, max_tokens=4, steps=None, foreign={"zoo": []}, batch_texts=1)
        assert batches.steps == 2
        texts = [self.texts(batches, step)[0] for step in range(2)]
        parts = [self.ids(tokenizer, part) for part in ("dog runs and cats", "sit down here now")]
        assert sorted(texts) == sorted(parts)
        starts = [one_part(batches, step).targets()[0, :, 0, 0].tolist() for step in range(2)]
        assert starts[texts.index(parts[0])] == [1, 0, 0, 0]
        assert starts[texts.index(parts[1])] == [0, 0, 0, 0]

    def test_labels_that_the_data_set_does_not_annotate_are_left_out(self, tokenizer: WordTokenizer) -> None:
        data = TrainingSet("sports", SPORTS.examples, entity_types(["team"]))
        batches = plan(tokenizer, data)
        batch = one_part(batches)
        assert prompts_of(batches, batch) == ["team", "river"]
        assert batch.targets()[..., 0].sum() == batch.texts.shape[0]

    def test_paraphrases_are_used_as_often_as_asked(self, tokenizer: WordTokenizer) -> None:
        ways = {"team": ["club", "side"], "river": ["stream"]}
        never = plan(tokenizer, SPORTS, paraphrases=ways)
        assert {prompt for step in range(30) for prompt in prompts_of(never, one_part(never, step))} == {
            "person",
            "team",
            "river",
        }
        often = plan(tokenizer, SPORTS, paraphrases=ways, paraphrase_rate=0.5, steps=100)
        prompts = [prompt for step in range(100) for prompt in prompts_of(often, one_part(often, step))]
        assert prompts.count("person") == 100
        assert 30 < prompts.count("team") < 70
        assert prompts.count("team") + prompts.count("club") + prompts.count("side") == 100
        assert min(prompts.count("club"), prompts.count("side"), prompts.count("stream")) > 0


def test_batches_prepared_ahead_are_the_plans(tokenizer: WordTokenizer) -> None:
    batches = plan(tokenizer, MEDICINE, SPORTS)
    ahead = Ahead(batches, CPU, workers=1)
    for step in (3, 4, 5, 0, 1):  # from any step on, as where a run is resumed
        (batch,), expected = ahead(step), one_part(batches, step)
        assert torch.equal(batch.targets(), expected.targets())
        assert torch.equal(batch.texts.input_ids, expected.texts.input_ids)
