from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from samner.entities import Entity, entity_types

TYPES = entity_types(["city", "river"])
PHRASES = {"York": "city", "New York": "city", "Rhine": "river", "Rio": ("city", 0.6), "Rio Grande": ("river", 0.8)}
vocabulary = st.sampled_from(["York", "New", "Rhine", "Rio", "Grande", "and", "of", "é", "\U0001f3c6", "東京"])
documents = st.lists(st.tuples(vocabulary, st.sampled_from([" ", "\n", " \t ", "\u3000"])), max_size=60).map(
    lambda words: "".join(word + blank for word, blank in words)
)


def keys(entities: list[Entity]) -> list[tuple[int, int, str, float]]:
    return sorted((*entity.key, entity.score) for entity in entities)


@given(texts=st.lists(documents, max_size=4), size=st.integers(8, 16))
def test_long_texts_give_what_unlimited_reading_gives(
    lookup_backbone: Callable[..., Any], texts: list[str], size: int
) -> None:
    """Entities here have at most two words, and so many are read twice at every cut."""
    short, unlimited = (lookup_backbone({"base": PHRASES}, max_tokens=limit) for limit in (size, 10_000))
    mine = short.predict(texts, TYPES, ["base"], 0.5)["base"]
    reference = unlimited.predict(texts, TYPES, ["base"], 0.5)["base"]
    assert list(map(keys, mine)) == list(map(keys, reference))
    for text, entities in zip(texts, mine, strict=True):
        assert len({entity.key for entity in entities}) == len(entities)
        assert all(text[entity.start : entity.end] in PHRASES for entity in entities)


def test_offsets_are_into_the_whole_text_and_repeats_are_listed_once(lookup_backbone: Callable[..., Any]) -> None:
    text = "\n " + "filler " * 30 + "New York " + "filler " * 30 + "York"
    backbone = lookup_backbone({"base": PHRASES})
    (found,) = backbone.predict([text], TYPES, ["base"], 0.5)["base"]
    first, last = text.index("New York"), len(text) - 4
    assert sorted(entity.key for entity in found) == [
        (first, first + 8, "city"),
        (first + 4, first + 8, "city"),
        (last, last + 4, "city"),
    ]
    assert len(backbone.calls) == 1 and len(backbone.calls[0][0]) > 8


def test_of_repeats_the_highest_score_stays(lookup_backbone: Callable[..., Any]) -> None:
    backbone = lookup_backbone({"base": PHRASES})
    ask = backbone.read

    def surer_when_later(texts: list[Any], *rest: Any) -> Any:
        answers = ask(texts, *rest)
        for i, entities in enumerate(answers["base"]):
            answers["base"][i] = [Entity(*entity.key, 0.5 + [0.1, 0.3, 0.2][i]) for entity in entities]
        return answers

    backbone.read = surer_when_later
    text = "a b c d e f g Rhine i j k l m n"  # the eighth word is in the first and the second window
    (found,) = backbone.predict([text], TYPES, ["base"], 0.5)["base"]
    assert found == [Entity(14, 19, "river", 0.8)]


def test_several_models_are_asked_in_one_call_and_kept_apart(lookup_backbone: Callable[..., Any]) -> None:
    backbone = lookup_backbone({"one": {"Rhine": "river"}, "two": {"Rhine": "city", "Rio": "city"}})
    texts = ["Rhine", "", "Rio and Rhine"]
    answers = backbone.predict(texts, TYPES, ["two", "one"], 0.5)
    assert [[entity.label for entity in entities] for entities in answers["one"]] == [["river"], [], ["river"]]
    assert [len(entities) for entities in answers["two"]] == [1, 0, 2]
    assert backbone.calls == [(["Rhine", "Rio and Rhine"], ["two", "one"])]


def test_threshold_and_types_are_passed_on(lookup_backbone: Callable[..., Any]) -> None:
    backbone = lookup_backbone({"base": PHRASES})
    (found,) = backbone.predict(["Rio Grande"], TYPES, ["base"], 0.7)["base"]
    assert [entity.key for entity in found] == [(0, 10, "river")]
    (found,) = backbone.predict(["Rio Grande"], entity_types(["city"]), ["base"], 0.5)["base"]
    assert [entity.key for entity in found] == [(0, 3, "city")]


def test_empty_and_blank_texts(lookup_backbone: Callable[..., Any]) -> None:
    backbone = lookup_backbone({"base": PHRASES})
    assert backbone.predict(["", " \n", "\u3000"], TYPES, ["base"], 0.5) == {"base": [[], [], []]}
    assert backbone.predict([], TYPES, ["base"], 0.5) == {"base": []}


def test_progress_is_told_text_by_text(lookup_backbone: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("samner.windows._TEXTS_PER_CALL", 3)
    done: list[int] = []
    backbone = lookup_backbone({"base": PHRASES})
    answers = backbone.predict(["Rhine"] * 7, TYPES, ["base"], 0.5, done.append)
    assert done == [3, 3, 1]
    assert [len(entities) for entities in answers["base"]] == [1] * 7
