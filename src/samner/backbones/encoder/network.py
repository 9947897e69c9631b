"""The compact encoder recogniser: words and entity types in the vector space of one sentence encoder.

A word's vector is the mean of its sub-tokens' last hidden states. A type's vector is the sentence encoder's own
embedding of the type's name (or name and description). Whether a word starts, ends or lies inside an entity of the
type is a bilinear form of the two, one matrix each, initialised at the identity: training starts from the
similarity the encoder was pre-trained for.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from samner.backbones.encoder.tokens import Batch
from samner.spans import ROLES


class Heads(nn.Module):
    """Bilinear scores of words for types in the three roles start, end and inside.

    ``score[role] = scale[role] * (M[role] x) . t + bias[role]`` with ``x`` the word's vector divided by
    ``sqrt(hidden)`` and ``t`` the type's unit vector.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.eye(hidden).repeat(len(ROLES), 1, 1))
        self.log_scale = nn.Parameter(torch.full((len(ROLES),), math.log(5.0)))
        self.bias = nn.Parameter(torch.full((len(ROLES),), -3.0))

    def forward(self, words: Tensor, types: Tensor) -> Tensor:
        """Logits.

        Args:
            words: B x W x H word vectors.
            types: L x H unit type vectors.

        Returns:
            B x W x L x 3 logits, roles in the order of ``ROLES``.
        """
        # Maps go over to the types, of which there are few, instead of the words, of which there are many.
        mapped = torch.einsum("rhk,lk->lrh", self.maps, types) * self.log_scale.exp()[None, :, None]
        rows, width, hidden = words.shape
        flat = (words.reshape(-1, hidden) / math.sqrt(hidden)) @ mapped.reshape(-1, hidden).T
        return flat.view(rows, width, types.shape[0], len(ROLES)) + self.bias


def word_vectors(encoder: Any, batch: Batch) -> Tensor:
    """B x W x H means of the last hidden states of each word's sub-tokens, float32; padding words are zero.

    Args:
        encoder: A transformer whose output has ``last_hidden_state``.
        batch: The texts.
    """
    states = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return pool_words(states.float(), batch)


def pool_words(states: Tensor, batch: Batch) -> Tensor:
    """Average B x T x H sub-token states over words to B x W x H."""
    rows, width = batch.shape
    hidden = states.shape[-1]
    index = batch.word_ids.reshape(-1)
    sums = states.new_zeros(rows * width + 1, hidden).index_add(0, index, states.reshape(-1, hidden))
    # not bincount, for which a GPU would have to be waited for
    counts = states.new_zeros(rows * width + 1).index_add(0, index, states.new_ones(len(index)))
    return (sums / counts.clamp(min=1)[:, None])[:-1].view(rows, width, hidden)
