from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llguidance.gbnf_to_lark import any_to_lark

from samner.backbones.language_model.generation.answer_format import Constraint, Grammars
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.entities import EntityType
from samner.errors import ModelError
from samner.words import LONGEST, pieces, sound

TEXT = 'The "C++" art\nparty: Ada Moreno 😀 plays\\ for {Rovers} [in] 東京都 and שלום.'
LABELS = ("person", 'a "quoted" <x>', "日")


@pytest.fixture(scope="module")
def tokenizer(lm) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(lm)


@pytest.fixture(scope="module")
def grammars(tokenizer) -> Grammars:
    return Grammars(tokenizer, len(tokenizer), [tokenizer.eos_token_id])


class ForLlamaCpp(Constraint):
    """The grammar that llama.cpp is sent, read back by another program's reader of such grammars."""

    def lark(self) -> str:
        return str(any_to_lark(self.gbnf()))


@pytest.fixture(scope="module", params=[Constraint, ForLlamaCpp])
def form(request) -> type[Constraint]:
    return request.param


def accepts(grammars: Grammars, tokenizer: Any, constraint: Constraint, answer: str) -> bool:
    """Whether each token of an answer, and then its end, is allowed where it stands."""
    (matcher,) = grammars.matchers([constraint])
    for token in [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]:
        allowed = matcher.allowed(len(tokenizer))
        assert allowed is not None
        if not allowed[token]:
            return False
        matcher.consume(token)
    return matcher.allowed(len(tokenizer)) is None  # at its end an answer needs no constraint any more


def answer(*strings: str) -> str:
    return json.dumps({label: list(strings) for label in LABELS}, ensure_ascii=False)


@pytest.mark.parametrize(
    "strings",
    [(), ("Ada Moreno",), ("Ada", "Ada"), ('"C++" art\nparty',), ("plays\\ for {Rovers} [in]", "東京", "😀", "שלום.")],
)
def test_strings_of_whole_words_of_the_text_are_allowed(grammars, tokenizer, form, strings):
    assert accepts(grammars, tokenizer, form("object", LABELS, TEXT), answer(*strings))


@pytest.mark.parametrize("string", ["", " ", "Ada ", " Ada", "Moren", "part", "Moreno Ada", "Bob", "ADA"])
def test_other_strings_are_not(grammars, tokenizer, form, string):
    assert not accepts(grammars, tokenizer, form("object", LABELS, TEXT), answer(string))


@pytest.mark.parametrize(
    "wrong", ["", "{}", "[]", '{"person": []}', answer()[:-1], answer() + " ", "Sure: " + answer()]
)
def test_nothing_but_an_object_of_all_types_is_allowed(grammars, tokenizer, form, wrong):
    assert not accepts(grammars, tokenizer, form("object", LABELS, TEXT), wrong)


def test_pairs_and_lists(grammars, tokenizer, form):
    pairs, strings = form("pairs", LABELS, TEXT), form("list", LABELS[:1], TEXT)
    for right in ([], [["Ada", "person"], ["art", LABELS[1]], ["Ada", "日"]]):
        assert accepts(grammars, tokenizer, pairs, json.dumps(right, ensure_ascii=False))
    for wrong in ([["Ada"]], [["Ada", "city"]], [["Bob", "person"]], ["Ada"]):
        assert not accepts(grammars, tokenizer, pairs, json.dumps(wrong, ensure_ascii=False))
    assert accepts(grammars, tokenizer, strings, ' ["Ada", "Moreno"]')
    assert not accepts(grammars, tokenizer, strings, '["Bob"]')


label = st.text(min_size=1, max_size=12).map(sound).map(str.strip).filter(bool)
labels = st.lists(label, min_size=1, max_size=4, unique=True)


@settings(max_examples=40)
@given(
    text=st.text(max_size=60).map(sound),
    names=labels,
    name=st.sampled_from(["json-by-type", "json-pairs", "json-short", "one-type"]),
    runs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=3),
)
@example(text="\x7f 😀", names=["\x7f", "\x00", "\u2028 \\"], name="json-pairs", runs=[(0, 1), (2, 1)])
@example(text="\x7f 😀", names=["\x7f", "\x00", "\u2028 \\"], name="json-by-type", runs=[(0, 1), (2, 1)])
def test_the_right_answer_is_always_allowed(grammars, tokenizer, form, text, names, name, runs):
    prompt = load_prompt(name)
    types = [EntityType(label) for label in names]
    parts = pieces(text, LONGEST)
    assert "".join(parts) == text
    strings = ["".join(parts[start : start + count]) for start, count in runs]
    mentions = [(string, names[i % len(names)]) for i, string in enumerate(strings) if string.strip(" ") == string]
    mentions = [mention for mention in mentions if mention[0]]
    asked = [(t,) for t in types] if prompt.per_type else [tuple(types)]
    for its, right in zip(asked, prompt.answer(mentions, types), strict=True):
        assert accepts(grammars, tokenizer, form.of(prompt.format, its, text), right)


def test_a_row_without_constraint_may_go_on_as_it_likes(grammars, tokenizer):
    matchers = grammars.matchers([None, Constraint("list", ("person",), TEXT)])
    any_other, bound = (
        matcher.allowed(len(tokenizer) + 7) for matcher in matchers
    )  # models have more logits than tokens
    assert any_other is None
    assert bound is not None and bound.shape == (len(tokenizer) + 7,) and 0 < int(bound.sum()) < 10


def test_the_name_of_a_special_token_in_a_type_is_written_as_text(grammars, tokenizer, caplog):
    label = f"a {tokenizer.eos_token} b"
    (matcher,) = grammars.matchers([Constraint("object", (label,), TEXT)])
    tokens: list[int] = []
    while len(tokens) < 200 and label.replace("<", "\\u003c") not in tokenizer.decode(tokens):
        allowed = matcher.allowed(len(tokenizer))
        assert allowed is not None
        tokens.append(int(allowed.nonzero()[-1]))
        assert tokenizer.eos_token_id not in tokens
        matcher.consume(tokens[-1])
        tokens += matcher.forced()
    assert len(tokens) < 200 and "goes on unconstrained" not in caplog.text


def test_a_text_beyond_the_limits_goes_on_unconstrained(grammars, tokenizer, caplog):
    (matcher,) = grammars.matchers([Constraint("list", ("x",), TEXT)])
    matcher.consume(tokenizer("Z", add_special_tokens=False)["input_ids"][0])  # not what the grammar allows
    assert matcher.allowed(len(tokenizer)) is None
    assert "goes on unconstrained" in caplog.text


def test_schemas_say_what_the_grammars_do_but_for_the_text():
    assert Constraint("list", ("x",), "").schema() == {"type": "array", "items": {"type": "string"}}
    schema = Constraint("object", LABELS, "").schema()
    assert schema["required"] == list(LABELS) and schema["additionalProperties"] is False
    assert Constraint("pairs", LABELS, "").schema()["items"]["prefixItems"][1] == {"enum": list(LABELS)}


def test_says_what_to_install(monkeypatch, tokenizer):
    monkeypatch.setitem(__import__("sys").modules, "llguidance.hf", None)
    with pytest.raises(ModelError, match=r"pip install 'samner\[llm\]'"):
        Grammars(tokenizer, 10, [1]).matchers([Constraint("list", ("x",), TEXT)])
