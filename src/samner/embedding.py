"""Sentence encoders: where they come from, and the domain embedding of a set of texts."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from samner import hub
from samner.display import reason
from samner.errors import ModelError, SamnerError
from samner.references import KNOWN, located
from samner.references import MINILM as MINILM
from samner.words import sound

if TYPE_CHECKING:
    from samner.sentence_encoder import SentenceEncoder

T = TypeVar("T")


def sentence_encoder_path(reference: str) -> str:
    """What a reference names: a known model's folder, a local folder or a hub id.

    Raises:
        ModelError: If the model is known, but not installed.
    """
    return str(located(reference)) if reference in KNOWN else reference


_LOCK = threading.RLock()
_DOMAINS: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
_KEPT_DOMAINS = 32
_NAMES: dict[tuple[str, str], dict[str, npt.NDArray[np.float32]]] = {}
_KEPT_NAMES = 10_000


def sentence_encoder(reference: str = MINILM, device: str = "cpu", *, fast: bool = False) -> SentenceEncoder:
    """Load a sentence encoder once per process. Callers share it, must not change its weights, and ask by ``encode``.

    Args:
        reference: See ``sentence_encoder_path``.
        device: A torch device name.
        fast: In the type that the device computes in fastest, instead of float32.

    Raises:
        ModelError: If it cannot be loaded.
    """
    with _LOCK:
        from samner.precision import fastest_dtype  # torch, which others of this module do without

        return _load(reference, device, str(fastest_dtype(device) if fast else "float32").removeprefix("torch."))


@lru_cache(maxsize=4)
def _load(reference: str, device: str, dtype: str) -> SentenceEncoder:
    import torch

    from samner.sentence_encoder import SentenceEncoder

    path = sentence_encoder_path(reference)
    try:
        folder = Path(path) if Path(path).is_dir() else hub.download(path)
        return SentenceEncoder(folder, device, getattr(torch, dtype))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, OverflowError, SamnerError) as error:
        raise ModelError(f"{reference}: not a sentence-transformers model ({reason(error)})") from error


def encode(
    texts: Sequence[str], reference: str = MINILM, device: str = "cpu", *, fast: bool = False
) -> npt.NDArray[np.float32]:
    """L2-normalised sentence embeddings, one row a text.

    Args:
        texts: To embed.
        reference: See ``sentence_encoder_path``.
        device: A torch device name.
        fast: See ``sentence_encoder``.

    Raises:
        ModelError: If the sentence encoder cannot be loaded.
    """
    return sentence_encoder(reference, device, fast=fast).encode([sound(text) for text in texts])


def embed_names(names: Sequence[str], reference: str = MINILM, device: str = "cpu") -> npt.NDArray[np.float32]:
    """As ``encode`` in float32, for names and other short texts that are asked for often: some thousands are kept."""
    with _LOCK:
        known = _NAMES.setdefault((reference, device), {})
        if new := [name for name in dict.fromkeys(names) if name not in known]:
            if len(known) > _KEPT_NAMES:
                known = _NAMES[reference, device] = {}
                new = list(dict.fromkeys(names))
            known.update(zip(new, encode(new, reference, device), strict=True))
        return np.stack([known[name] for name in names]) if names else encode(names, reference, device)


def embed_domain(texts: Sequence[str], reference: str = MINILM, device: str = "cpu") -> npt.NDArray[np.float32]:
    """The domain embedding: the mean of the L2-normalised sentence embeddings of the texts, itself normalised.

    The last few are kept in memory, without the texts: a domain that is adapted to in several ways is embedded once.

    Source: Ding, Wei and Fan (ACL 2025), who compare domains by the cosine of these means.
    """
    key = (hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest(), reference)
    with _LOCK:
        if key not in _DOMAINS:
            vector = unit_mean(encode(texts, reference, device, fast=True))
            if len(_DOMAINS) >= _KEPT_DOMAINS:
                del _DOMAINS[next(iter(_DOMAINS))]
            _DOMAINS[key] = vector
        return _DOMAINS[key]


def unit_mean(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The mean of the rows at length 1, read-only; zeros if it is zero."""
    mean = vectors.mean(axis=0)
    mean = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)
    mean.flags.writeable = False
    return mean


def spread(texts: Sequence[T], most: int = 500) -> Sequence[T]:
    """At most so many of a data set's texts, spread evenly over it: more do not move the mean."""
    if len(texts) <= most:
        return texts
    return [texts[i * len(texts) // most] for i in range(most)]
