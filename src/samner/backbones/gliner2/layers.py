"""The linear layers of a GLiNER2 model: which there are, which are read past, and what all rows of a batch share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from samner.backbones.mixed_batch import blocks
from samner.errors import ModelError

_OTHER_TASKS = ("classifier", "count_pred", "record_decoder", "relation_scorer")
"""Modules that entities teach nothing."""


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """All linear layers by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def read_past(model: nn.Module) -> frozenset[str]:
    """Names of linear layers whose weights are used without the layers being called.

    What an adapter puts on these changes none of gliner2's answers, and none here.
    """
    from gliner2.layers import SpanMarkerV0

    found: set[str] = set()
    for name, module in model.named_modules():
        parts: tuple[str, ...] = ()
        if isinstance(module, nn.TransformerEncoderLayer):  # torch's fast path
            parts = ("linear1", "linear2")
        elif isinstance(module, nn.MultiheadAttention):
            parts = ("out_proj",)
        elif isinstance(module, SpanMarkerV0):  # folded into the queries
            parts = ("out_project.0", "out_project.3")
        found.update(f"{name}.{part}" for part in parts)
    return frozenset(found)


def taught_layers(model: nn.Module) -> list[str]:
    """Names of the layers that an expert is put on: all that entities can teach something."""
    past = read_past(model)
    return [name for name in linear_layers(model) if name not in past and not name.startswith(_OTHER_TASKS)]


def mind_positions(encoder: nn.Module) -> None:
    """Let an encoder that knows only so many positions, as BERT does, say so of what is longer.

    A pass then raises a ``ModelError``, where it would fail with an index.
    """
    if isinstance(getattr(getattr(encoder, "embeddings", None), "position_embeddings", None), nn.Embedding):
        encoder.register_forward_pre_hook(_check_length, with_kwargs=True)


def _check_length(encoder: Any, _: tuple[Any, ...], asked: dict[str, Any]) -> None:
    table, length = encoder.embeddings.position_embeddings, asked["input_ids"].shape[1]
    first = 0 if table.padding_idx is None else table.padding_idx + 1  # as RoBERTa counts
    most = table.num_embeddings - first
    if length > most:
        raise ModelError(
            f"the encoder reads at most {most} sub-tokens at once, not {length}, of a text and the types it is asked "
            "for: lower max_words, in base.json to extract or in the recipe to train, or ask for fewer types at a time"
        )


def attend_by_model(encoder: nn.Module) -> bool:
    """Let the attention of DeBERTa-v2 and v3 project its relative positions anew for each model of a mixed batch.

    Returns:
        Whether the encoder is one of these; what others do with their rows is not known.
    """
    from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Model, DisentangledSelfAttention

    if not isinstance(encoder, DebertaV2Model):
        return False
    for module in encoder.modules():
        if isinstance(module, DisentangledSelfAttention):
            bias: Any = partial(_bias_by_model, module, module.disentangled_attention_bias)
            module.disentangled_attention_bias = bias
    return True


def _bias_by_model(attention: Any, plain: Callable[..., Tensor], query: Tensor, key: Tensor, *more: Any) -> Tensor:
    """What positions add to attention scores; ``query`` and ``key`` are (rows x heads) x words x width."""
    heads = attention.num_attention_heads
    parts = [plain(query[a * heads : b * heads], key[a * heads : b * heads], *more) for a, b in blocks()]
    return torch.cat(parts) if parts else plain(query, key, *more)
