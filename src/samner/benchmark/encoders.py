"""Similarity of domains by other text encoders than the one that made the cards' embeddings.

- ``base``: mean-pooled states of the pool's trained base encoder, each text at unit length.
- ``lsa``: TF-IDF and its 100 largest singular directions (latent semantic analysis), fitted on the experts' texts.

Each compares a target to the texts that the experts were trained on, which a card does not hold: the configuration
names their files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from samner.backbones import load_backbone
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.backbones.encoder.network import word_vectors
from samner.backbones.encoder.tokens import collate
from samner.cache import Store
from samner.data import read_texts
from samner.embedding import spread, unit_mean
from samner.errors import SamnerError
from samner.files import sha256
from samner.pool import ExpertPool
from samner.windows import windows

ENCODERS = ("minilm", "base", "lsa")
"""``minilm`` is the cards' own: selection by similarity as it always is."""

Vectors = npt.NDArray[np.float32]
Encoder = Callable[[Sequence[str]], Vectors]

_BATCH = 32
_DIRECTIONS = 100


class DomainEncoders:
    """Cosines of targets with the experts' domains.

    Args:
        pool: The experts and their base.
        domains: For each expert the files it was trained on.
        store: Where cosines are kept.

    Raises:
        SamnerError: If an expert's files are not named.
    """

    def __init__(self, pool: ExpertPool, domains: Mapping[str, Sequence[Path]], store: Store) -> None:
        if missing := [name for name in pool.experts if name not in domains]:
            raise SamnerError(f"domains: names no training files of the expert {missing[0]!r}, to compare a target to")
        self._pool = pool
        self._domains = domains
        self._store = store
        self._fitted: dict[str, tuple[Encoder, dict[str, Vectors]]] = {}

    def cosines(self, encoder: str, texts: Sequence[str]) -> dict[str, float]:
        """For each expert, the cosine of its domain embedding with that of these texts.

        Raises:
            SamnerError: If the base is not of the encoder family.
        """
        key = [encoder, self._checksums, list(texts)]
        kept = self._store.get("cosines", key)
        if kept is None:
            encode, domains = self._fit(encoder)
            target = unit_mean(encode([text for text in texts if text.strip()]))
            kept = {name: float(np.dot(vector, target)) for name, vector in domains.items()}
            self._store.put("cosines", key, kept)
        return {name: float(value) for name, value in kept.items()}

    def _fit(self, encoder: str) -> tuple[Encoder, dict[str, Vectors]]:
        if encoder not in self._fitted:
            texts = {name: _read(self._domains[name]) for name in self._pool.experts}
            encode = _lsa(texts) if encoder == "lsa" else _base(self._pool)
            self._fitted[encoder] = encode, {name: unit_mean(encode(one)) for name, one in texts.items()}
        return self._fitted[encoder]

    @cached_property
    def _checksums(self) -> dict[str, list[str]]:
        return {name: [sha256(path) for path in self._domains[name]] for name in self._pool.experts}


def _read(paths: Sequence[Path]) -> list[str]:
    return [text for path in paths for text in spread(read_texts(path)) if text.strip()]


def _base(pool: ExpertPool) -> Encoder:
    backbone = load_backbone(pool.base_folder, pool.device)  # one without experts on it
    if not isinstance(backbone, EncoderBackbone):
        raise SamnerError(f"{pool.base_folder}: only a base of the encoder family has states to pool")

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Vectors:
        words = backbone.words(texts)
        # as sentence encoders do: of a long text, what one pass can read
        cut = [windows(found, backbone.max_tokens, 0)[0] for found in words if found]
        kept = [text for text, found in zip(texts, words, strict=True) if found]
        tokens = backbone.tokenizer([text[w.start : w.end] for text, w in zip(kept, cut, strict=True)])
        tokens.sort(key=lambda one: one.cost)
        rows = []
        for first in range(0, len(tokens), _BATCH):
            batch = collate(tokens[first : first + _BATCH], backbone.tokenizer).to(backbone.device)
            states = word_vectors(backbone.encoder, batch)
            means = states.sum(1) / batch.word_mask.sum(1, keepdim=True)
            rows.append(torch.nn.functional.normalize(means, dim=1).cpu().numpy())
        return np.concatenate(rows)

    return encode


def _lsa(texts: Mapping[str, Sequence[str]]) -> Encoder:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    corpus = [text for one in texts.values() for text in one]
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    weights = words.fit_transform(corpus)
    directions = TruncatedSVD(min(_DIRECTIONS, weights.shape[1] - 1, len(corpus) - 1), random_state=0)
    directions.fit(weights)
    pipeline = make_pipeline(words, directions, Normalizer())
    return lambda found: np.asarray(pipeline.transform(found), dtype=np.float32)
