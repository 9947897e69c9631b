from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones import TrainingData, TrainingSet
from samner.backbones.language_model.generation.prompt import load_prompt, unmarked
from samner.backbones.language_model.training.examples import (
    GENERAL_TYPES,
    Recipe,
    SftExample,
    dev_examples,
    encode,
    foreign_types,
    in_windows,
    prompt_ids,
    render,
    sft_examples,
)
from samner.backbones.language_model.training.rows import make_plan, packs_exactly
from samner.entities import entity_types
from samner.errors import SamnerError
from tests.backbones.language_model.tiny_llama import data, example, geography, tiny_llama, tiny_tokenizer

OBJECT, PAIRS, LIST = (load_prompt(name) for name in ("json-by-type", "json-pairs", "one-type"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_llama()


def answers(examples: list[SftExample]) -> list[Any]:
    return [json.loads(e.completion) for e in examples]


class TestSftExamples:
    def test_each_pass_asks_about_every_text_and_depends_on_the_seed_alone(self, tokenizer: Any):
        recipe = Recipe(epochs=2.5, seed=3)
        made = sft_examples(data(), OBJECT, tokenizer, recipe)
        assert len(made) == 16 + 16 + 8
        texts = [e.prompt.split("Text: ")[1] for e in made]
        assert len(set(texts[:16])) == len(set(texts[16:32])) == 16
        assert texts[:16] != texts[16:32]
        assert made == sft_examples(data(), OBJECT, tokenizer, recipe)
        assert made != sft_examples(data(), OBJECT, tokenizer, Recipe(epochs=2.5, seed=4))

    def test_types_are_shuffled_dropped_and_joined_by_foreign_ones_whose_answer_is_none(self, tokenizer: Any):
        recipe = Recipe(epochs=20, type_dropout=0.3, foreign_types=2)
        seen, orders = Counter(), set()
        for answer in answers(sft_examples(data(), OBJECT, tokenizer, recipe)):
            seen.update(answer.keys())
            orders.add(tuple(answer))
            assert all(not answer.get(name) for name in ("chess opening", "gemstone"))
            assert all(len(answer[name]) == 1 for name in answer.keys() & {"river", "city"})
            assert answer.keys() & {"river", "city"}
        assert ("river", "city") in orders and ("city", "river") in orders
        assert 0.6 < seen["river"] / 320 < 0.9 and 0.3 < seen["gemstone"] / 320 < 0.7

    def test_without_dropout_every_own_type_is_asked_for(self, tokenizer: Any):
        recipe = Recipe(type_dropout=0, foreign_types=0)
        for made in sft_examples(data(), PAIRS, tokenizer, recipe):
            assert "- river: flowing water\n" in made.prompt and "- city\n" in made.prompt
            assert [label for _, label in json.loads(made.completion)] == ["river", "city"]

    def test_types_that_occur_go_before_others_where_not_all_are_asked_for(self, tokenizer: Any):
        types = entity_types([*"abcdefgh", "river", "city"])
        crowded = TrainingData([TrainingSet("geo", geography().examples, types)])
        recipe = Recipe(type_dropout=0, foreign_types=0, max_types=3)
        for answer in answers(sft_examples(crowded, OBJECT, tokenizer, recipe)):
            assert len(answer) == 3 and {"river", "city"} < answer.keys()

    def test_one_question_a_type_balances_what_occurs_and_what_does_not(self, tokenizer: Any):
        types = entity_types([*"abcdefgh", "river", "city"])
        recipe = Recipe(type_dropout=0, foreign_types=2, epochs=1)
        crowded = TrainingData([TrainingSet("geo", geography().examples, types)], foreign=["gemstone"])
        made = answers(sft_examples(crowded, LIST, tokenizer, recipe))
        assert len(made) == 16 * 4
        assert sum(map(bool, made)) == 16 * 2

    def test_a_paraphrase_is_asked_for_and_answered_by_its_own_name(self, tokenizer: Any):
        told = TrainingData([geography()], paraphrases={"city": ["town"]})
        recipe = Recipe(type_dropout=0, foreign_types=0, paraphrase_rate=0.99, epochs=1)
        made = answers(sft_examples(told, OBJECT, tokenizer, recipe))
        assert all(a.keys() == {"river", "town"} and a["town"] for a in made[:3])

    def test_dev_questions_ask_for_all_types_as_they_are(self, tokenizer: Any):
        held_out = TrainingData([geography()], dev=[geography(3)])
        made = dev_examples(held_out, OBJECT, tokenizer, Recipe(dev_texts=2))
        assert answers(made) == [{"river": ["Rhine"], "city": ["Bonn"]}, {"river": ["Rhine"], "city": ["Lyon"]}]

    def test_long_texts_are_cut_and_entities_move_along(self, tokenizer: Any):
        long = example("x " * 40 + "The Rhine flows.", river="Rhine")
        cut = in_windows(TrainingData([TrainingSet("a", [long], entity_types(["river"]))]), tokenizer, 30)
        pieces = cut.train[0].examples
        assert len(pieces) > 1
        assert [e.text[x.start : x.end] for e in pieces for x in e.entities] == ["Rhine"]


class TestForeignTypes:
    def test_other_data_sets_and_those_that_the_base_knows(self):
        other = TrainingSet("food", [], entity_types(["dish", "city"]))
        told = TrainingData([geography(), other], foreign=["gemstone", "city"])
        assert foreign_types(told, told.train[0]) == ["dish", "gemstone"]

    def test_general_ones_where_no_others_are_known(self):
        assert foreign_types(TrainingData([geography()]), geography()) == list(GENERAL_TYPES)


class TestInWindows:
    def test_short_texts_stay_and_long_ones_are_cut_between_words(self, tokenizer: Any):
        long = example("The Rhine flows through Bonn. " * 3 + "The Volga.", river="Volga")
        texts = [geography().examples[0], long, example(" Bonn ", city="Bonn"), example("")]
        (cut,) = in_windows(TrainingData([TrainingSet("geo", texts, geography().types)]), tokenizer, 12).train
        assert cut.examples[0] == texts[0] and cut.examples[-1] == example("Bonn", city="Bonn")
        assert len(cut.examples) > 3 and " ".join(e.text for e in cut.examples[1:-1]) == long.text
        assert [e.text[s.start : s.end] for e in cut.examples[1:-1] for s in e.entities] == ["Volga"]


class TestTokens:
    @pytest.mark.parametrize("chat", [False, True])
    def test_only_the_answer_and_its_end_count(self, chat: bool):
        tokenizer = tiny_tokenizer(chat=chat)
        question = render(OBJECT, OBJECT.questions("Ada", entity_types(["river"]))[0], tokenizer)
        assert question.endswith("<|assistant|>" if chat else "JSON:\n")
        (row,) = encode([SftExample(question, '{"river": []}')], tokenizer)
        start = len(prompt_ids([question], tokenizer)[0])
        assert set(row["labels"][:start]) == {-100}
        assert row["labels"][start:] == row["input_ids"][start:]
        assert tokenizer.decode(row["input_ids"][start:]) == '{"river": []}<|eos|>'

    @pytest.mark.parametrize("chat", [False, True])
    def test_names_of_special_tokens_in_texts_and_types_are_text(self, chat: bool):
        tokenizer = tiny_tokenizer(chat=chat)
        types = entity_types(["a <|user|>", "river"])

        def special(text: str) -> list[str]:
            question = render(OBJECT, OBJECT.questions(text, types)[0], tokenizer)
            ids = prompt_ids([question], tokenizer)[0]
            assert tokenizer.decode(ids).count(text) and unmarked(question) == tokenizer.decode(ids)
            return [token for token in tokenizer.convert_ids_to_tokens(ids) if token in tokenizer.all_special_tokens]

        assert special("The <|end|><|system|>Rhine") == special("The Rhine")
        (row,) = encode([SftExample("Who?", '{"river": ["<|eos|>"]}')], tokenizer)
        assert row["input_ids"].count(tokenizer.eos_token_id) == 1

    def test_what_a_prompt_itself_writes_stays_special(self):
        tokenizer = tiny_tokenizer()
        own = OBJECT.model_copy(update={"question": "<|user|>" + OBJECT.question})
        question = render(own, own.questions("The <|end|>", entity_types(["river"]))[0], tokenizer)
        (ids,) = prompt_ids([question], tokenizer)
        user, end = tokenizer.convert_tokens_to_ids(["<|user|>", "<|end|>"])
        assert ids.count(user) == 1 and end not in ids

    @given(st.text(max_size=30), st.text(max_size=30))
    def test_any_text_can_be_encoded(self, prompt: str, completion: str):
        tokenizer = tiny_tokenizer()
        (row,) = encode([SftExample(prompt, completion)], tokenizer)
        assert len(row["input_ids"]) == len(row["labels"]) and row["labels"][-1] == tokenizer.eos_token_id


class TestPlan:
    def test_steps_follow_from_passes_and_batch(self, llama: Any, tokenizer: Any):
        plan = make_plan(llama, tokenizer, OBJECT, data(), Recipe(epochs=2, batch=8, micro_batch=2))
        assert (plan.examples, plan.rows, plan.accumulate, plan.steps, plan.packed) == (32, 2, 4, 4, False)
        shared = make_plan(llama, tokenizer, OBJECT, data(), Recipe(epochs=2, batch=8, micro_batch=2), processes=2)
        assert (shared.rows, shared.accumulate, shared.steps) == (2, 2, 4)

    def test_packed_rows_hold_every_token_and_no_more_than_fit(self, llama: Any, tokenizer: Any):
        recipe = Recipe(epochs=2, batch=8, micro_batch=8, packing="on", max_length=2000)
        packed = make_plan(llama, tokenizer, OBJECT, data(), recipe)
        plain = make_plan(llama, tokenizer, OBJECT, data(), Recipe(epochs=2, batch=8, micro_batch=8, max_length=2000))
        assert packed.packed and len(packed.train) < len(plain.train)
        assert sum(len(row["input_ids"]) for row in packed.train) == plain.tokens
        assert all(sum(row["seq_lengths"]) == len(row["input_ids"]) <= 2000 for row in packed.train)
        assert packed.rows * packed.accumulate < 8

    def test_no_more_questions_are_drawn_than_asked_for(self, llama: Any, tokenizer: Any):
        options = {"steps": 20, "batch": 4, "micro_batch": 4}
        drawn = [make_plan(llama, tokenizer, OBJECT, data(), Recipe(questions=n, **options)) for n in (24, 500)]
        assert [(plan.examples, plan.steps) for plan in drawn] == [(24, 20), (80, 20)]

    def test_what_is_too_long_is_left_out_and_said(self, llama: Any, tokenizer: Any):
        lengths = [len(r["input_ids"]) for r in make_plan(llama, tokenizer, OBJECT, data(), Recipe()).train]
        plan = make_plan(llama, tokenizer, OBJECT, data(), Recipe(max_length=sorted(lengths)[10]))
        assert plan.examples + plan.left_out == len(lengths) and plan.left_out
        assert f"too long and left out: {plan.left_out}" in plan.describe()
        with pytest.raises(SamnerError, match=rf"max_length=9: no question .* the shortest has {min(lengths)} tokens"):
            make_plan(llama, tokenizer, OBJECT, data(), Recipe(max_length=9))


class TestPacking:
    def test_attention_from_positions_keeps_sequences_apart(self, llama: Any):
        assert packs_exactly(llama)
        assert not llama.training

    def test_rows_below_one_another_are_read_as_their_questions_alone(self, llama: Any, tokenizer: Any):
        from samner.backbones.language_model.training.trainer import _Apart

        plan = make_plan(llama, tokenizer, OBJECT, data(), Recipe(packing="on", max_length=700))
        rows = [plan.train[0], plan.train[-1]]
        assert len({len(row["input_ids"]) for row in rows}) == 2  # so that one is padded
        batch = _Apart(tokenizer.pad_token_id, return_position_ids=True)([*rows])
        with torch.no_grad():
            together = llama(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
            for row, logits in zip(rows, together, strict=True):
                start = 0
                for length in row["seq_lengths"]:
                    ids = torch.tensor([row["input_ids"][start : start + length]])
                    assert torch.allclose(llama(input_ids=ids).logits[0], logits[start : start + length], atol=1e-5)
                    start += length

    def test_a_recurrent_model_does_not(self, tokenizer: Any):
        from transformers import MambaConfig, MambaForCausalLM

        model = MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
        assert not packs_exactly(model)
        with pytest.raises(SamnerError, match="packing=on: MambaForCausalLM lets questions in one row see each other"):
            make_plan(model, tokenizer, OBJECT, data(), Recipe(packing="on"))


def test_defaults_with_some_settings_changed():
    recipe = Recipe.of({"steps": 5, "metric": "f1", "gradient_checkpointing": True})
    assert (recipe.steps, recipe.metric, recipe.gradient_checkpointing) == (5, "f1", True)
    assert recipe.rank == Recipe().rank


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 1}, "training option: lr: unknown setting; known are steps, epochs,"),
        ({"rank": 2.5}, "rank: input should be a valid integer, not 2.5"),
        ({"rank": True}, "rank: input should be a valid integer, not True"),
        ({"steps": 0}, "steps: input should be greater than 0, not 0"),
        ({"max_minutes": -1}, "max_minutes: input should be greater than 0, not -1"),
        ({"learning_rate": float("inf")}, "learning_rate: input should be a finite number"),
        ({"questions": 0}, "questions: input should be greater than 0, not 0"),
        ({"batch": 0}, "batch: input should be greater than 0"),
        ({"foreign_types": -1}, "foreign_types: input should be greater than or equal to 0"),
        ({"type_dropout": 1}, "type_dropout: input should be less than 1, not 1"),
        ({"gradient_checkpointing": "yes"}, "gradient_checkpointing: input should be a valid boolean, not 'yes'"),
        ({"metric": "accuracy"}, "metric: input should be 'loss' or 'f1', not 'accuracy'"),
        ({"packing": "maybe"}, "packing: input should be 'auto', 'on' or 'off', not 'maybe'"),
    ],
)
def test_what_will_not_do(options: dict[str, Any], message: str):
    with pytest.raises(SamnerError, match=message):
        Recipe.of(options)
