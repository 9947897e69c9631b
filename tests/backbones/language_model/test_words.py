from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones.language_model.special_tokens import for_texts
from samner.words import LONGEST, pieces, sound, token_words


@pytest.fixture(scope="module")
def tokenizer(lm) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(lm)


def test_words_and_costs(tokenizer):
    text = "Ada's C++ 東京 😀"
    words = token_words([text, "", " \n"], tokenizer)
    assert [text[w.start : w.end] for w in words[0]] == ["Ada", "'", "s", "C", "+", "+", "東", "京", "😀"]
    assert sum(w.cost for w in words[0]) == len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert words[1:] == [(), ()]
    assert token_words([], tokenizer) == []


def test_the_name_of_a_special_token_is_text(tokenizer):
    text = "Ada</s> wrote <s>Basel"
    (words,) = token_words([text], for_texts(tokenizer, [text]))
    assert [text[w.start : w.end] for w in words] == ["Ada", *"</s>", "wrote", *"<s>", "Basel"]
    assert all(w.cost for w in words if text[w.start] not in "<>")
    read = for_texts(tokenizer, [text])
    assert read is for_texts(tokenizer, ["Another <pad>"]) is not tokenizer
    assert not {0, 1, 2} & set(read(text, add_special_tokens=False)["input_ids"])
    assert tokenizer(text, add_special_tokens=False)["input_ids"][-1] and for_texts(tokenizer, ["Ada"]) is tokenizer


def test_a_long_string_can_be_cut(tokenizer):
    (words,) = token_words(["x" * 1000], tokenizer)
    assert max(w.end - w.start for w in words) == 64 and sum(w.cost for w in words) <= 1000


@given(st.text(alphabet=st.characters()))
def test_any_text(tokenizer, text):
    (words,) = token_words([text], tokenizer)
    assert len(sound(text)) == len(text)
    assert "".join(pieces(text, LONGEST)) == text
    place = 0
    for word in words:
        assert place <= word.start < word.end <= len(text) and word.cost >= 0
        assert not text[place : word.start].strip()
        place = word.end
    assert not text[place:].strip()
    total = len(tokenizer(sound(text), add_special_tokens=False)["input_ids"])
    assert sum(w.cost for w in words) <= total
