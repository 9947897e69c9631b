from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from samner.backbones import TrainingSet
from samner.backbones.encoder.batches import BatchPlan
from samner.backbones.encoder.tokens import WordTokenizer
from samner.backbones.encoder.training import Recipe
from samner.entities import Entity, Example, entity_types


def example(text: str, **entities: str) -> Example:
    spans = [(text.index(part), text.index(part) + len(part), label) for label, part in entities.items()]
    return Example(text, tuple(Entity(*span) for span in spans))


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
    }
    given |= {name: settings.pop(name) for name in given.keys() & settings.keys()}
    defaults: dict[str, Any] = {"steps": 30, "epochs": 1.0, "batch_tokens": 64, "batch_texts": 4, "foreign_types": 2}
    return BatchPlan(sets, tokenizer, Recipe(**{**defaults, **settings}), **given)


def as_lists(batch: tuple[Any, ...]) -> Any:
    return batch[0].input_ids.tolist(), batch[1], batch[2].tolist(), batch[3]


class TestPlan:
    def test_a_batch_is_a_function_of_seed_and_step(self, tokenizer: WordTokenizer) -> None:
        one, same = (plan(tokenizer, MEDICINE, SPORTS) for _ in range(2))
        other = plan(tokenizer, MEDICINE, SPORTS, seed=1)
        forwards = [as_lists(one(step)) for step in range(30)]
        backwards = [as_lists(same(step)) for step in reversed(range(30))][::-1]
        assert forwards == backwards
        assert forwards != [as_lists(other(step)) for step in range(30)]

    def test_the_targets_of_a_hand_made_example(self, tokenizer: WordTokenizer) -> None:
        data = TrainingSet("medicine", [MEDICINE.examples[0]], MEDICINE.types)
        batch, prompts, targets, name = plan(tokenizer, data, steps=1, foreign={"medicine": ["river"]})(0)
        assert name == "medicine"
        # those that occur first, then the other own types, then foreign ones
        assert prompts == ["disease", "drug: a medicine", "gene", "river"]
        assert batch.shape == (1, 5)  # Aspirin relieves back pain .
        expected = torch.zeros(1, 5, 4, 3)
        expected[0, 0, 1, :] = 1  # Aspirin starts, ends and lies inside a drug
        expected[0, 2, 0, 0] = expected[0, 3, 0, 1] = 1
        expected[0, 2:4, 0, 2] = 1
        assert torch.equal(targets, expected)

    def test_a_batch_is_of_one_data_set_and_asks_for_what_occurs_in_it(self, tokenizer: WordTokenizer) -> None:
        batches = plan(tokenizer, MEDICINE, SPORTS, max_types=2)
        seen = set()
        for step in range(30):
            _, prompts, targets, name = batches(step)
            seen.add(name)
            own = {t.prompt for t in (MEDICINE if name == "medicine" else SPORTS).types}
            mine = [prompt for prompt in prompts if prompt in own]
            assert prompts[: len(mine)] == mine and len(mine) == 2
            foreign = prompts[len(mine) :]
            assert len(foreign) == len(set(foreign)) == (2 if name == "medicine" else 1)
            assert set(foreign) <= {"river", "planet", "song"}
            assert not targets[:, :, len(mine) :].any()
        assert seen == {"medicine", "sports"}

    def test_types_that_occur_are_asked_for_however_many(self, tokenizer: WordTokenizer) -> None:
        _, prompts, targets, _ = plan(tokenizer, SPORTS, max_types=1, foreign_types=0)(0)
        assert sorted(prompts) == ["person", "team"]
        assert targets[..., 0].sum() == 2 * targets.shape[0]

    def test_an_epoch_shows_every_text_once(self, tokenizer: WordTokenizer) -> None:
        batches = plan(tokenizer, MEDICINE, steps=None, epochs=2.0)
        half = batches.steps // 2
        for first in (0, half):
            rows = [row for step in range(first, first + half) for row in self.texts(batches, step)]
            assert sorted(rows) == sorted(self.ids(tokenizer, e.text) for e in MEDICINE.examples)

    def ids(self, tokenizer: WordTokenizer, text: str) -> list[int]:
        return [piece for word in tokenizer([text])[0].ids for piece in word]

    def texts(self, batches: BatchPlan, step: int) -> list[list[int]]:
        batch = batches(step)[0]
        rows = zip(batch.input_ids.tolist(), batch.attention_mask.sum(1).tolist(), strict=True)
        return [ids[1 : used - 1] for ids, used in rows]

    @pytest.mark.parametrize(("budget", "most"), [(64, 4), (16, 8), (8, 3), (1, 2)])
    def test_batches_keep_to_their_sizes(self, tokenizer: WordTokenizer, budget: int, most: int) -> None:
        batches = plan(tokenizer, MEDICINE, batch_tokens=budget, batch_texts=most)
        for step in range(30):
            costs = [len(ids) for ids in self.texts(batches, step)]
            assert len(costs) <= most
            assert len(costs) * max(costs) <= budget or len(costs) == 1

    def test_larger_data_sets_are_drawn_more_often_by_the_root_of_their_size(self, tokenizer: WordTokenizer) -> None:
        small = TrainingSet("small", [example("Rio is a city.")] * 4, entity_types(["city"]))
        large = TrainingSet("large", [example("Ada is a person.")] * 64, entity_types(["person"]))
        batches = plan(tokenizer, small, large, steps=2000, foreign={"small": [], "large": []}, batch_texts=1)
        drawn = np.mean([batches(step)[3] == "large" for step in range(2000)])
        assert drawn == pytest.approx(8 / (8 + 2), abs=0.04)

    def test_a_long_text_is_cut_and_entities_across_a_cut_teach_nothing(self, tokenizer: WordTokenizer) -> None:
        text = "dog runs and cats sit down here now"  # every word is one sub-token
        across = Entity(text.index("cats"), text.index(" down"), "animal")
        data = TrainingSet("zoo", [Example(text, (Entity(0, 3, "animal"), across))], entity_types(["animal"]))
        batches = plan(tokenizer, data, max_tokens=4, steps=None, foreign={"zoo": []}, batch_texts=1)
        assert batches.steps == 2
        texts = [self.texts(batches, step)[0] for step in range(2)]
        parts = [self.ids(tokenizer, part) for part in ("dog runs and cats", "sit down here now")]
        assert sorted(texts) == sorted(parts)
        starts = [batches(step)[2][0, :, 0, 0].tolist() for step in range(2)]
        assert starts[texts.index(parts[0])] == [1, 0, 0, 0]
        assert starts[texts.index(parts[1])] == [0, 0, 0, 0]

    def test_labels_that_the_data_set_does_not_annotate_are_left_out(self, tokenizer: WordTokenizer) -> None:
        data = TrainingSet("sports", SPORTS.examples, entity_types(["team"]))
        _, prompts, targets, _ = plan(tokenizer, data)(0)
        assert prompts == ["team", "river"]
        assert targets[..., 0].sum() == targets.shape[0]

    def test_paraphrases_are_used_as_often_as_asked(self, tokenizer: WordTokenizer) -> None:
        ways = {"team": ["club", "side"], "river": ["stream"]}
        never = plan(tokenizer, SPORTS, paraphrases=ways)
        assert {prompt for step in range(30) for prompt in never(step)[1]} == {"person", "team", "river"}
        often = plan(tokenizer, SPORTS, paraphrases=ways, paraphrase_rate=0.5, steps=100)
        prompts = [prompt for step in range(100) for prompt in often(step)[1]]
        assert prompts.count("person") == 100
        assert 30 < prompts.count("team") < 70
        assert prompts.count("team") + prompts.count("club") + prompts.count("side") == 100
        assert min(prompts.count("club"), prompts.count("side"), prompts.count("stream")) > 0
