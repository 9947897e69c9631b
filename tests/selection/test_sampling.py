from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.entities import entity_types
from samner.errors import PoolError, SamnerError
from samner.pool import ExpertCard
from samner.selection import Count, PseudoLabel, Selection, Target, select_by_sampling
from samner.selection.sampling import by_sampling, draw

TYPES = entity_types(["city", "river"])
Make = Callable[..., Any]


def select(backbone: Any, texts: list[str], cosine: dict[str, float] | None = None, **options: Any) -> Selection:
    names = sorted(backbone.models)
    return select_by_sampling(backbone, cosine or dict.fromkeys(names, 0.5), texts, TYPES, **options)


def test_the_majority_makes_the_pseudo_labels(lookup_backbone: Make) -> None:
    """Worked by hand: "Rhine" (3 of 4 votes) and "York" (4) pass, "Rio" (2) and "Nile" (1) do not."""
    backbone = lookup_backbone(
        {
            "a": {"Rhine": "river", "York": "city"},
            "b": {"Rhine": "river", "York": "city", "Rio": "city"},
            "c": {"Rhine": "river", "York": "city", "Rio": "city", "Nile": "river"},
            "d": {"Rhine": "city", "York": "city"},  # the wrong type is another entity
        }
    )
    selection = select(backbone, ["Rhine and Rio", "York and Nile"])
    assert selection.votes_needed == 3
    assert selection.warnings == (
        "the choice by sampling rests on 2 different entities, too little to tell experts apart; "
        "give more or longer texts",
    )
    assert selection.note == "of 10 samples asked for, there are only 2, all distinct texts"
    assert selection.pseudo_labels == (
        PseudoLabel(0, 0, 5, "river", ("a", "b", "c")),
        PseudoLabel(1, 0, 4, "city", ("a", "b", "c", "d")),
    )
    # hits, found and gold: a 2 2 2, b 2 3 2, c 2 4 2, d 1 2 2
    assert selection.f1 == pytest.approx({"a": 1.0, "b": 4 / 5, "c": 4 / 6, "d": 2 / 4})
    assert selection.ranking == ("a", "b", "c", "d")
    assert selection.chosen == ("a", "b", "c")
    assert selection.strategy == "sampling"
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


def test_half_of_the_experts_is_no_majority(lookup_backbone: Make) -> None:
    backbone = lookup_backbone({"a": {"Rhine": "river"}, "b": {"Rhine": "river"}, "c": {}, "d": {}})
    selection = select(backbone, ["Rhine"], samples=1)
    assert selection.votes_needed == 2
    assert selection.note == "no entity got a majority of 3 votes; two votes were taken as enough"
    assert [label.votes for label in selection.pseudo_labels] == [("a", "b")]
    assert selection.f1 == {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}


def test_two_votes_do_not_add_to_a_majority(lookup_backbone: Make) -> None:
    backbone = lookup_backbone(
        {
            "a": {"Rhine": "river", "York": "city"},
            "b": {"Rhine": "river", "York": "city"},
            "c": {"Rhine": "river"},
            "d": {},
        }
    )
    selection = select(backbone, ["Rhine", "York"])
    assert [(label.text, label.label) for label in selection.pseudo_labels] == [(0, "river")]
    assert selection.ranking[0] == "c"


def test_without_any_agreement_similarity_decides(lookup_backbone: Make) -> None:
    backbone = lookup_backbone({"a": {"Rhine": "river"}, "b": {"York": "city"}, "c": {}})
    selection = select(backbone, ["Rhine and York"], {"a": 0.1, "b": 0.3, "c": 0.2}, count=2, samples=1)
    assert selection.votes_needed is None
    assert selection.note == "no two experts agreed on any entity; the experts are ranked by similarity"
    assert selection.pseudo_labels == ()
    assert selection.ranking == ("b", "c", "a") and selection.chosen == ("b", "c")
    assert set(selection.f1.values()) == {0.0}
    assert selection.warnings[0].startswith("no two experts agreed on any entity in the sample texts; expect little")
    assert len(select(backbone, ["Rhine and York"], count="auto").chosen) == 1  # nothing is close to nothing
    assert select(lookup_backbone({"a": {}}), ["Rhine"], count=1).warnings == ()  # alone it has nobody to agree with


def test_equal_f1_goes_to_the_more_similar_then_to_the_name(lookup_backbone: Make) -> None:
    backbone = lookup_backbone({name: {"Rhine": "river"} for name in "abcd"})
    selection = select(backbone, ["Rhine"], {"a": 0.1, "b": 0.3, "c": 0.3, "d": 0.2})
    assert selection.ranking == ("b", "c", "d", "a")


def test_f1_goes_before_similarity(lookup_backbone: Make) -> None:
    backbone = lookup_backbone({"a": {"Rhine": "river"}, "b": {"Rhine": "river"}, "c": {}})
    assert select(backbone, ["Rhine"], {"a": 0.1, "b": 0.2, "c": 0.9}).ranking == ("b", "a", "c")


def test_a_single_expert_is_chosen(lookup_backbone: Make) -> None:
    selection = select(lookup_backbone({"a": {"Rhine": "river"}}), ["Rhine"])
    assert selection.chosen == ("a",) and selection.votes_needed == 1


def test_an_expert_does_not_vote_twice_for_overlapping_answers(lookup_backbone: Make) -> None:
    """Each expert's own overlaps are resolved before it votes: the longer of equally sure spans stays."""
    phrases = {"York": "city", "New York": "city"}
    selection = select(lookup_backbone({"a": phrases, "b": phrases, "c": {"York": "city"}}), ["New York"])
    assert [(label.start, label.end, label.votes) for label in selection.pseudo_labels] == [(0, 8, ("a", "b"))]


def test_the_threshold_counts(lookup_backbone: Make) -> None:
    models = {"a": {"Rhine": ("river", 0.4)}, "b": {"Rhine": ("river", 0.6)}, "c": {"Rhine": ("river", 0.9)}}
    backbone = lookup_backbone(models)
    assert select(backbone, ["Rhine"]).pseudo_labels[0].votes == ("b", "c")
    assert select(backbone, ["Rhine"], threshold=0.3).pseudo_labels[0].votes == ("a", "b", "c")
    backbone.threshold = 0.8
    assert select(backbone, ["Rhine"]).pseudo_labels == ()


def test_long_samples_are_read_whole_and_all_experts_asked_in_one_call(lookup_backbone: Make) -> None:
    backbone = lookup_backbone({name: {"New York": "city"} for name in "ab"})
    texts = ["word " * 30 + "New York", "New York"]
    selection = select(backbone, texts)
    assert [(label.text, label.start) for label in selection.pseudo_labels] == [(0, 150), (1, 0)]
    assert [models for _, models in backbone.calls] == [["a", "b"]]


class TestDraw:
    TEXTS = tuple(f"text {i}" for i in range(50))

    def test_the_seed_decides(self) -> None:
        draws = [draw(self.TEXTS, 10, seed) for seed in (0, 0, 1)]
        assert draws[0] == draws[1] != draws[2]

    @given(st.lists(st.text(max_size=3), max_size=30), st.integers(1, 12), st.integers(0, 5))
    def test_distinct_texts_that_are_not_blank_in_their_order(self, texts: list[str], samples: int, seed: int) -> None:
        distinct = list(dict.fromkeys(text for text in texts if text.strip()))
        if not distinct:
            with pytest.raises(SamnerError, match="not blank"):
                draw(texts, samples, seed)
            return
        drawn = draw(texts, samples, seed)
        drawn = [texts[place] for place in drawn]
        assert len(drawn) == len(set(drawn)) == min(samples, len(distinct))
        assert drawn == [text for text in distinct if text in set(drawn)]

    def test_every_text_has_a_chance(self) -> None:
        assert {place for seed in range(60) for place in draw(self.TEXTS, 10, seed)} == set(range(50))

    def test_the_sample_is_reported(self, lookup_backbone: Make) -> None:
        backbone = lookup_backbone({"a": {}, "b": {}})
        for seed in (3, 4):
            selection = select(backbone, list(self.TEXTS), samples=4, seed=seed)
            assert list(selection.sample) == draw(self.TEXTS, 4, seed)
            assert [self.TEXTS[place] for place in selection.sample] == backbone.calls[-1][0]


def test_bad_input_is_refused(lookup_backbone: Make) -> None:
    backbone = lookup_backbone({"a": {}})
    with pytest.raises(PoolError, match="no experts"):
        select_by_sampling(backbone, {}, ["x"], TYPES)
    with pytest.raises(SamnerError, match="not blank"):
        select(backbone, ["", " "])
    for options in ({"count": 0}, {"samples": 0}, {"samples": -3}):
        with pytest.raises(SamnerError, match="at least 1"):
            select(backbone, ["x"], **options)


class TestLargePools:
    """Of a large pool, only the experts of the most similar texts are asked."""

    @pytest.fixture
    def asked(self) -> list[tuple[str, ...]]:
        """What each selection asked the pool for."""
        return []

    @pytest.fixture
    def target(
        self, lookup_backbone: Make, asked: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., Target]:
        """A domain that expert ``e00`` is most similar to, ``e01`` second, and so on."""

        class Pool:
            def asked(self, names: Sequence[str]) -> Any:
                asked.append(tuple(names))
                return lookup_backbone({name: {"Rhine": "river"} for name in names})

        def make(experts: int, count: Count = 3) -> Target:
            angles = {f"e{i:02}": 0.01 * i for i in range(experts)}
            cards = {
                name: ExpertCard(name=name, base="b", types=("city",), embedding=(np.cos(a), np.sin(a)))
                for name, a in angles.items()
            }
            pool: Any = Pool()
            return Target(pool, cards, ["Rhine"], TYPES, count)

        monkeypatch.setattr("samner.selection.similarity.embed_domain", lambda *_: np.array([1, 0], np.float32))
        return make

    def test_twenty_are_asked(self, target: Callable[..., Target], asked: list[tuple[str, ...]]) -> None:
        selection = by_sampling(target(30))
        nearest = tuple(f"e{i:02}" for i in range(20))
        assert asked == [nearest]
        assert selection.ranking == tuple(selection.f1) == tuple(selection.cosine) == nearest
        assert selection.chosen == nearest[:3]
        assert selection.votes_needed == 11
        assert selection.note.startswith("the 20 most similar of 30 experts were asked; of 10 samples asked for")

    def test_more_if_more_are_to_be_chosen(self, target: Callable[..., Target], asked: list[tuple[str, ...]]) -> None:
        assert len(by_sampling(target(30, count=25)).chosen) == len(asked[0]) == 25

    def test_all_of_a_small_pool(self, target: Callable[..., Target], asked: list[tuple[str, ...]]) -> None:
        for count in (3, "auto", 99):
            assert "similar" not in by_sampling(target(20, count=count)).note
        assert [len(names) for names in asked] == [20, 20, 20]
