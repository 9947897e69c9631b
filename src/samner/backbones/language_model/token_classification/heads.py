"""From the states of words and types to start, end and inside scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from samner.backbones.language_model.token_classification.inputs import Batch

ROLES = ("start", "end", "inside")
"""What a word can be of an entity: its first, its last, one of its words."""


class Heads(nn.Module):
    """For each role, the scaled and shifted cosine of a word with a type after a projection of both.

    Words and types begin with the same projection, so that a word starts near the types whose names are like it.

    Args:
        hidden: Width of the model's states.
        width: Of each role's projection.
    """

    def __init__(self, hidden: int, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Linear(hidden, len(ROLES) * width, bias=False)
        self.types = nn.Linear(hidden, len(ROLES) * width, bias=False)
        self.scale = nn.Parameter(torch.full((len(ROLES),), 10.0))
        self.bias = nn.Parameter(torch.full((len(ROLES),), -4.0))
        with torch.no_grad():
            self.types.weight.copy_(self.words.weight)

    def forward(self, words: Tensor, types: Tensor) -> Tensor:
        """Logits, B x W x T x 3, of words (B x W x hidden) for types (B x T x hidden)."""
        word = normalize(self.words(words).unflatten(-1, (len(ROLES), self.width)).float(), dim=-1)
        kind = normalize(self.types(types).unflatten(-1, (len(ROLES), self.width)).float(), dim=-1)
        return torch.einsum("bwrd,btrd->bwtr", word, kind) * self.scale + self.bias


def logits(model: Any, heads: Heads, batch: Batch) -> Tensor:
    """Logits, B x W x T x 3, of a batch; those of padding mean nothing.

    Args:
        model: The causal language model without its own head, of transformers.
        heads: Of the base.
        batch: On the model's device.
    """
    states = model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
    scores: Tensor = heads(_at(states, batch.word_places), _at(states, batch.type_places))
    return scores


def _at(states: Tensor, places: Tensor) -> Tensor:
    """B x P x hidden: the states at the places (B x P) of each row."""
    return states.gather(1, places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
