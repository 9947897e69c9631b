from __future__ import annotations

import pytest

from samner.backbones.encoder.tokens import WordTokenizer


@pytest.fixture(scope="session")
def tokenizer() -> WordTokenizer:
    from samner.embedding import sentence_encoder

    return WordTokenizer(sentence_encoder().tokenizer, sentence_encoder().pad_id)
