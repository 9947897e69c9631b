"""The tokenizer, batches and base of a small language model are what its training relies on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from studies.small_lm.base import loss_of, new_model
from studies.small_lm.batches import Batches, Row
from studies.small_lm.tokenizer import train_tokenizer, without_blank

MODEL = {"hidden": 16, "intermediate": 16, "layers": 1, "heads": 2, "context": 512}
NAMES = ("Aspirin", "Serlapril", "Harbour Medical", "Ada Moreno", "Basel")
CORPUS = [f'{name} of {other} met {name}. {{"drug": ["{name}", "{other}"]}}' for name in NAMES for other in NAMES]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(CORPUS, plain=400, blank=60)


@given(st.text())
def test_every_text_comes_back(tokenizer: Any, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_cut_alike_in_text_and_in_json(tokenizer: Any, name: str) -> None:
    alike = without_blank(tokenizer)
    plain, after_blank = tokenizer(name)["input_ids"], tokenizer(" " + name)["input_ids"]
    if len(after_blank) > len(plain):  # a blank before a token too rare to have one with it
        assert after_blank[1:] == plain
    else:
        assert [alike[after_blank[0]], *after_blank[1:]] == plain


def batches(tokenizer: Any) -> Batches:
    def rows(rng: random.Random) -> Iterator[Row]:
        while True:
            ids = tokenizer(rng.choice(CORPUS)[: rng.randint(5, 40)])["input_ids"]
            yield {"input_ids": ids, "labels": ids}

    return Batches(rows, 4, seed=3)


def test_a_batch_is_a_function_of_the_step(tokenizer: Any) -> None:
    one, other = batches(tokenizer), batches(tokenizer)
    later = one.batch(20)
    assert torch.equal(other.batch(3).ids, one.batch(3).ids)
    assert torch.equal(other.batch(20).labels, later.labels)
    assert later.ids.shape != one.batch(21).ids.shape or not torch.equal(later.ids, one.batch(21).ids)


def test_an_untrained_model_knows_nothing(tokenizer: Any) -> None:
    assert loss_of(new_model(MODEL, tokenizer, 0), batches(tokenizer).batch(0)) > 4
