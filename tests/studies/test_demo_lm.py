"""The demonstration language model's texts, tokenizer and lessons are what its training relies on."""

from __future__ import annotations

import random
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones.language_model.generation.prompt import load_prompt
from samner.data import read_examples, read_texts
from samner.entities import Example
from studies.demo_lm.generate import MOST_WORDS, SPLITS, Field, Names, labelled, read_fields, split_of, texts, write
from studies.demo_lm.lessons import NAME, Lessons
from studies.demo_lm.study import over
from studies.demo_lm.train import make_tokenizer
from studies.small_lm.base import PROMPT, loss_of, new_model
from studies.small_lm.batches import Batches
from studies.small_lm.tokenizer import without_blank

DOMAINS, TARGETS, BASE = read_fields("domains"), read_fields("targets"), read_fields("base")
NAMES = Names()
MODEL = {"hidden": 16, "intermediate": 16, "layers": 1, "heads": 2, "context": 512}


def some(field: Field, split: str, count: int = 60) -> list[Example]:
    return list(islice(texts(field, split, NAMES, random.Random("test")), count))


EVERYTHING = [
    (field, split) for part in (DOMAINS, TARGETS, BASE) for field in part.values() for split in field.clauses
]


class TestTexts:
    @pytest.mark.parametrize(("field", "split"), EVERYTHING, ids=lambda value: getattr(value, "name", value))
    def test_entities_are_names_of_their_split_and_types_of_the_field(self, field: Field, split: str) -> None:
        examples = some(field, split)
        assert len({example.text for example in examples}) == len(examples)
        for example in examples:
            assert len(example.text.split()) <= MOST_WORDS
            assert not example.text[0].islower() or any(entity.start == 0 for entity in example.entities)
            assert example.text.endswith(".")
            assert "{" not in example.text and "|" not in example.text and "(" not in example.text
            for entity in example.entities:
                assert entity.label in {*field.types, *field.others}
                assert split_of(example.text[entity.start : entity.end]) == split
        examples = [labelled(example, field.types) for example in examples]
        assert {label for example in examples for label in example.labels()} == set(field.types)

    def test_entities_do_not_touch(self) -> None:
        for example in some(TARGETS["pharma_news"], "test"):
            assert all(one.end < other.start for one, other in pairwise(example.entities))

    def test_no_clause_is_in_two_splits(self) -> None:
        for field in DOMAINS.values():
            clauses = [clause for split in field.clauses.values() for clause in split]
            assert len(set(clauses)) == len(clauses)

    def test_the_same_seed_gives_the_same_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(SPLITS, "train", 300)
        write(tmp_path / "a")
        write(tmp_path / "b")
        files = [path.relative_to(tmp_path / "a") for path in sorted((tmp_path / "a").rglob("*.jsonl"))]
        assert len(files) == 3 * len(DOMAINS) + 2 * len(TARGETS)
        for file in files:
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

        for name in DOMAINS:
            train, test = (read_examples(tmp_path / "a" / name / f"{split}.jsonl") for split in ("train", "test"))
            names = [{e.text[x.start : x.end] for e in part for x in e.entities} for part in (train, test)]
            assert not names[0] & names[1]
        unlabelled = set(read_texts(tmp_path / "a" / "pharma_news" / "unlabeled.jsonl"))
        assert not unlabelled & {e.text for e in read_examples(tmp_path / "a" / "pharma_news" / "test.jsonl")}


class TestDesign:
    """What makes the right answer of the study known."""

    @pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
    def test_every_type_of_a_target_is_known_to_its_experts_only(self, target: Field) -> None:
        for label in target.types:
            knowing = {name for name, domain in DOMAINS.items() if label in domain.types}
            assert knowing and knowing <= set(target.experts)

    @pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
    def test_every_right_expert_knows_a_type_that_another_one_knows_too(self, target: Field) -> None:
        for name in target.experts:
            others = {t for other in target.experts if other != name for t in DOMAINS[other].types}
            assert others & set(DOMAINS[name].types) & set(target.types)

    def test_no_type_is_known_to_a_majority(self) -> None:
        types = [t for domain in DOMAINS.values() for t in domain.types]
        assert max(map(types.count, types)) <= len(DOMAINS) // 2

    def test_the_base_has_types_of_its_own(self) -> None:
        assert not {t for f in BASE.values() for t in f.types} & {t for f in DOMAINS.values() for t in f.types}


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return make_tokenizer({"plain": 700, "blank": 300, "texts": 60})


class TestTokenizer:
    @given(st.text())
    def test_every_text_comes_back(self, tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
        text = text.encode("utf-8", "replace").decode()
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    @pytest.mark.parametrize("kind", ["drug", "person", "disease", "restaurant", "money"])
    def test_a_name_is_cut_alike_in_text_and_in_json(self, tokenizer, kind: str) -> None:  # type: ignore[no-untyped-def]
        alike = without_blank(tokenizer)
        rng = random.Random(kind)
        for name in (NAMES.draw(kind, "test", rng) for _ in range(50)):
            plain, after_blank = tokenizer(name)["input_ids"], tokenizer(" " + name)["input_ids"]
            if len(after_blank) > len(plain):  # a blank before a token too rare to have one with it
                assert after_blank[1:] == plain
            else:
                assert [alike[after_blank[0]], *after_blank[1:]] == plain


class TestLessons:
    def lessons(self, tokenizer, **shares: float) -> Lessons:  # type: ignore[no-untyped-def]
        return Lessons(tokenizer, load_prompt(PROMPT), shares)

    def batches(self, tokenizer, **shares: float) -> Batches:  # type: ignore[no-untyped-def]
        return Batches(self.lessons(tokenizer, **shares).rows, 4, seed=3)

    def test_a_batch_is_a_function_of_the_step(self, tokenizer) -> None:  # type: ignore[no-untyped-def]
        shares = {"repeat": 1, "names": 1, "typed": 1}
        one, other = self.batches(tokenizer, **shares), self.batches(tokenizer, **shares)
        later = one.batch(20)
        assert torch.equal(other.batch(3).ids, one.batch(3).ids)
        assert torch.equal(other.batch(20).labels, later.labels)
        assert later.ids.shape != one.batch(21).ids.shape or not torch.equal(later.ids, one.batch(21).ids)

    def test_only_answers_count_but_of_repeats_everything(self, tokenizer) -> None:  # type: ignore[no-untyped-def]
        row = next(self.lessons(tokenizer, repeat=1).rows(random.Random(0)))
        assert row["labels"] == row["input_ids"]
        first, second = tokenizer.decode(row["input_ids"][:-1]).split("\n")
        assert first == second
        row = next(self.lessons(tokenizer, typed=1).rows(random.Random(0)))
        counted = [label for label in row["labels"] if label != -100]
        assert tokenizer.decode(row["input_ids"]).endswith(tokenizer.decode(counted))
        assert tokenizer.decode(counted).startswith("{") and counted[-1] == tokenizer.eos_token_id

    def test_only_hints_ask_for_the_types_of_a_domain(self, tokenizer) -> None:  # type: ignore[no-untyped-def]
        domains = {t for field in DOMAINS.values() for t in field.types}

        def asked(**shares: float) -> set[str]:
            rows = self.lessons(tokenizer, **shares).rows(random.Random(0))
            questions = [tokenizer.decode(row["input_ids"]).split("\n")[:-2] for row in islice(rows, 200)]
            return {entity_type.removeprefix("- ") for types in questions for entity_type in types}

        assert NAME in asked(names=1, typed=1) and not domains & asked(names=1, typed=1)
        assert domains <= asked(hint=1)

    def test_an_untrained_model_knows_nothing(self, tokenizer) -> None:  # type: ignore[no-untyped-def]
        batch = self.batches(tokenizer, typed=1).batch(0)
        loss = loss_of(new_model(MODEL, tokenizer, 0), batch)
        assert loss > 4


class TestStudy:
    def test_mean_and_deviation(self) -> None:
        assert over([0.5]) == "50.0 ± 0.0"
        assert over([0.4, 0.6]) == "50.0 ± 14.1"
