"""The cards of a pool's experts, each made when it is first asked for, and their embeddings without them."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from samner.pool.card import ExpertCard


class Entry:
    """What is known of an expert: its card, or what that is made of.

    Args:
        name: Of the expert.
        encoder: Reference of the sentence encoder that made the embedding.
        embedding: The embedding's numbers as float64: as exact as the card's, and much faster to read.
        rest: The card as JSON, which was checked before; the embedding in it does not count.
    """

    def __init__(self, name: str, encoder: str, embedding: bytes, rest: bytes) -> None:
        self.name = name
        self.encoder = encoder
        self.embedding = embedding
        self.rest = rest

    @classmethod
    def of(cls, card: ExpertCard) -> Entry:
        """What is known by a card."""
        entry = cls(card.name, card.embedding_model, array("d", card.embedding).tobytes(), b"")
        entry.card = card
        return entry

    @cached_property
    def card(self) -> ExpertCard:
        """The card."""
        embedding = tuple(np.frombuffer(self.embedding).tolist())
        return ExpertCard.model_validate_json(self.rest).model_copy(update={"embedding": embedding})


class Cards(Mapping[str, ExpertCard]):
    """Cards by the names of their experts, in order; a card is made when it is first asked for.

    Args:
        entries: By name.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    @classmethod
    def of(cls, cards: Mapping[str, ExpertCard]) -> Cards:
        """Cards that are there already."""
        return cards if isinstance(cards, Cards) else cls({name: Entry.of(card) for name, card in cards.items()})

    def __getitem__(self, name: str) -> ExpertCard:
        return self._entries[name].card

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self))

    def without(self, names: Collection[str]) -> Cards:
        """Those of the other experts."""
        return Cards({name: entry for name, entry in self._entries.items() if name not in names})

    def embeddings(self) -> dict[str, tuple[str, npt.NDArray[np.float32]]]:
        """For each expert the sentence encoder and the domain embedding by it; no card is made."""
        return {
            name: (entry.encoder, np.frombuffer(entry.embedding).astype(np.float32))
            for name, entry in self._entries.items()
        }
