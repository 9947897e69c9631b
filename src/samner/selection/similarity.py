"""Selection by similarity: the experts whose training texts are most like the target's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from samner.embedding import embed_domain
from samner.errors import PoolError, SamnerError
from samner.pool import ExpertCard
from samner.selection.how_many import Count, check_count, first
from samner.selection.result import Selection


def select_by_similarity(experts: Mapping[str, ExpertCard], texts: Sequence[str], count: Count = 3) -> Selection:
    """Choose the experts whose domain embeddings have the highest cosine with the target's.

    Source: Ding, Wei and Fan (ACL 2025). Equal cosines are ordered by name.

    Args:
        experts: The pool's cards by name.
        texts: Unlabelled texts of the target domain.
        count: How many to choose; all, if the pool has fewer. ``"auto"``: see ``samner.selection.how_many.first``.

    Raises:
        PoolError: If there are no experts, or their embeddings come from different sentence encoders.
        SamnerError: If every text is blank, or ``count`` is not valid.
    """
    texts = [text for text in texts if text.strip()]
    if not experts:
        raise PoolError("the pool has no experts to select from")
    if not texts:
        raise SamnerError("selection needs at least one text that is not blank")
    check_count(count)
    models = {card.embedding_model for card in experts.values()}
    if len(models) > 1:
        raise PoolError(f"domain embeddings by different sentence encoders cannot be compared: {sorted(models)}")
    target = embed_domain(texts, models.pop())
    for name, card in experts.items():
        if card.vector.shape != target.shape:
            raise PoolError(f"the domain embedding of {name!r} has {card.vector.size} numbers, not {target.size}")
    cosine = {name: float(np.dot(card.vector, target)) for name, card in experts.items()}
    ranking = tuple(sorted(cosine, key=lambda name: (-cosine[name], name)))
    return Selection("similarity", first(ranking, cosine, count), ranking, cosine)
