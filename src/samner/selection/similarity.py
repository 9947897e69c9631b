"""A target, and selection by similarity: the experts whose texts, or whose types, are most like the target's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from samner.display import brief
from samner.embedding import embed_domain, embed_names
from samner.entities import EntityType
from samner.errors import PoolError, SamnerError
from samner.pool import Cards, ExpertCard, PoolSnapshot
from samner.references import check_reference
from samner.selection.result import AUTO, Count, Selection, check_count, first


@dataclass(frozen=True)
class Target:
    """A domain nobody labelled, and the pool whose experts are to be ranked for it.

    Args:
        pool: Holds the experts, as they were when the selection began.
        experts: The cards of those that may be chosen, by name.
        texts: Unlabelled texts of the domain.
        types: The entity types to look for.
        count: How many experts a signal chooses.
        samples: How many texts a signal draws, if it does.
        seed: Of the draw.
    """

    pool: PoolSnapshot
    experts: Mapping[str, ExpertCard]
    texts: Sequence[str]
    types: Sequence[EntityType]
    count: Count = 3
    samples: int = 10
    seed: int = 0

    @cached_property
    def similarity(self) -> Selection:
        """The experts by similarity, which breaks ties of other signals."""
        return select_by_similarity(self.experts, self.texts, self.count)


def by_similarity(target: Target) -> Selection:
    """``select_by_similarity`` as a signal."""
    return target.similarity


def select_by_similarity(experts: Mapping[str, ExpertCard], texts: Sequence[str], count: Count = AUTO) -> Selection:
    """Choose the experts whose domain embeddings have the highest cosine with the target's.

    Source: Ding, Wei and Fan (ACL 2025). Equal cosines are ordered by name.

    Args:
        experts: The pool's cards by name.
        texts: Unlabelled texts of the target domain.
        count: How many to choose; all, if the pool has fewer. ``"auto"``: see ``samner.selection.result.first``.

    Raises:
        PoolError: If there are no experts, or their embeddings come from different sentence encoders.
        ModelError: If that is a sentence encoder which cards may not name (see ``check_reference``).
        SamnerError: If every text is blank, or ``count`` is not valid.
    """
    texts = [text for text in texts if text.strip()]
    if not experts:
        raise PoolError("the pool has no experts to select from")
    if not texts:
        raise SamnerError("selection needs at least one text that is not blank")
    check_count(count)
    target = embed_domain(texts, sentence_encoder_of(experts))
    embeddings = Cards.of(experts).embeddings()
    for name, (_, vector) in embeddings.items():
        if vector.shape != target.shape:
            raise PoolError(f"the domain embedding of {name!r} has {vector.size} numbers, not {target.size}")
    matrix = np.stack([vector for _, vector in embeddings.values()])
    # unlike by BLAS, equal rows have equal cosines wherever they stand
    cosine = dict(zip(embeddings, np.einsum("ij,j->i", matrix, target).tolist(), strict=True))
    ranking = tuple(sorted(cosine, key=lambda name: (-cosine[name], name)))
    return Selection("similarity", first(ranking, cosine, count), ranking, cosine)


def sentence_encoder_of(experts: Mapping[str, ExpertCard]) -> str:
    """The reference of the sentence encoder that made the experts' embeddings."""
    models = {encoder: name for name, (encoder, _) in Cards.of(experts).embeddings().items()}
    if len(models) > 1:
        raise PoolError(
            f"domain embeddings by different sentence encoders cannot be compared: {brief(sorted(models))}"
        )
    ((reference, name),) = models.items()
    return check_reference(reference, f"the card of the expert {name!r}")


def type_similarity(types: Sequence[EntityType], experts: Mapping[str, ExpertCard]) -> npt.NDArray[np.float32]:
    """For each type, the cosine of its name with the one most like it among the names that the experts know."""
    known = sorted({name for card in experts.values() for name in card.types})
    if not known:
        return np.zeros(len(types), dtype=np.float32)
    reference = sentence_encoder_of(experts)
    similar = embed_names([t.name for t in types], reference) @ embed_names(known, reference).T
    return np.asarray(similar.max(axis=1), dtype=np.float32)
