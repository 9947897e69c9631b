"""How like the types that are looked for are to those that experts know, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from samner.embedding import embed_names
from samner.entities import EntityType
from samner.pool import ExpertCard
from samner.selection.similarity import sentence_encoder_of


def type_similarity(types: Sequence[EntityType], experts: Mapping[str, ExpertCard]) -> npt.NDArray[np.float32]:
    """For each type, the cosine of its name with the one most like it among the names that the experts know."""
    known = sorted({name for card in experts.values() for name in card.types})
    if not known:
        return np.zeros(len(types), dtype=np.float32)
    reference = sentence_encoder_of(experts)
    similar = embed_names([t.name for t in types], reference) @ embed_names(known, reference).T
    return np.asarray(similar.max(axis=1), dtype=np.float32)
