from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samner.backbones.language_model.token_classification.inputs import MAX_WORD_TOKENS, Reader
from samner.words import words


@pytest.fixture(scope="module")
def tokenizer(lm: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(lm)


@pytest.fixture(scope="module")
def reader(tokenizer: Any) -> Reader:
    return Reader(tokenizer)


def test_the_types_come_first_and_then_the_text_twice(reader: Reader, tokenizer: Any) -> None:
    types = reader.types(["drug", "city"])
    (tokens,) = reader.tokenize(["Aspirin in Basel."])
    question = reader.question(tokens, types)
    assert tokenizer.decode(question.ids) == "Types: drug; city\nText: Aspirin in Basel.\nText: Aspirin in Basel."


def test_the_name_of_a_special_token_is_text(reader: Reader, tokenizer: Any) -> None:
    text = "Ada</s> in <s>Basel"
    (tokens,) = reader.tokenize([text])
    question = reader.question(tokens, reader.types(["a </s>", "city"]))
    assert not set(tokenizer.all_special_ids) & set(question.ids)
    assert tokenizer.decode(question.ids) == f"Types: a </s>; city\nText: {text}\nText: {text}"
    assert [text[word.start : word.end] for word in tokens.words][-1] == "Basel"


def test_a_type_stands_where_its_last_sub_token_is(reader: Reader, tokenizer: Any) -> None:
    types = reader.types(["drug", "named city"])
    read = [tokenizer.decode(types.ids[: place + 1]) for place in types.places]
    assert read == ["Types: drug", "Types: drug; named city"]


def test_a_word_stands_where_its_last_sub_token_in_the_second_copy_is(reader: Reader, tokenizer: Any) -> None:
    (tokens,) = reader.tokenize(["Ada lives in Basel."])
    question = reader.question(tokens, reader.types(["city"]))
    read = [tokenizer.decode(question.copies[: place + 1]) for place in question.places]
    first = "\nText: Ada lives in Basel."
    assert read == [
        f"{first}\nText: Ada",
        f"{first}\nText: Ada lives",
        f"{first}\nText: Ada lives in",
        f"{first}\nText: Ada lives in Basel",
        f"{first}\nText: Ada lives in Basel.",
    ]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_words_are_those_of_all_families_and_every_place_is_in_the_second_copy(reader: Reader, text: str) -> None:
    (tokens,) = reader.tokenize([text])
    assert [(word.start, word.end) for word in tokens.words] == words(text)
    question = reader.question(tokens, reader.types(["city"]))
    half = len(question.copies) // 2
    assert question.copies[:half] == question.copies[half:]
    assert list(question.places) == sorted(question.places)
    assert all(half <= place < 2 * half for place in question.places)


def test_a_very_long_word_is_read_in_part(reader: Reader) -> None:
    (tokens,) = reader.tokenize(["see " + "xqzj" * 500 + " here"])
    assert [len(ids) for ids in tokens.ids][1] == MAX_WORD_TOKENS


def test_half_of_a_surrogate_pair_does_no_harm(reader: Reader) -> None:
    (tokens,) = reader.tokenize(["a \ud800 b"])
    assert tokens.text == "a \ud800 b"
    assert reader.types(["\ud800 kind"]).places


def test_no_texts_are_no_tokens(reader: Reader) -> None:
    assert reader.tokenize([]) == []
