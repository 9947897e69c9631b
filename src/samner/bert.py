"""BERT's encoder, layer by layer and name by name as transformers has it, whose import takes seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention

_NOT_HERE = ("pooler.", "cls.", "embeddings.position_ids")
"""What weights may hold beside the encoder's: heads of its pre-training, and a table that is no weight."""


@dataclass(frozen=True, slots=True)
class BertConfig:
    """Sizes, and shares of what is dropped in training, by transformers' names."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertConfig | None:
        """What a model's ``config.json`` says; none if that is another model, or computes in another way."""
        plain = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        if config.get("is_decoder") or any(config.get(name, value) != value for name, value in plain.items()):
            return None
        try:
            return cls(**{name: config[name] for name in cls.__dataclass_fields__ if name in config})
        except TypeError:  # a size is missing
            return None


def _today(name: str) -> str:
    """A weight's name as transformers writes it today; Google's first files said gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


class States(NamedTuple):
    """What a pass answers: B x T x H."""

    last_hidden_state: Tensor


class Bert(nn.Module):
    """The encoder, without the head that BERT was pre-trained with.

    Args:
        config: Its sizes.

    Attributes:
        fused: Whether torch's fused attention is used; written out, it makes a plainer graph for export.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.fused = True
        self.embeddings = _Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> States:
        """The last states.

        Args:
            input_ids: B x T.
            attention_mask: B x T, 0 where there is nothing to read.
        """
        mask = attention_mask[:, None, None, :].bool()
        states = self.embeddings(input_ids)
        for layer in self.encoder.layer:  # type: ignore[union-attr]  # a ModuleList, see above
            states = layer(states, mask, self.fused)
        return States(states)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a file that transformers wrote, as they are: those of a mapped file stay in it.

        Raises:
            RuntimeError: If they are not this model's.
        """
        named = {_today(name.removeprefix("bert.")): weight for name, weight in weights.items()}
        self.load_state_dict({n: w for n, w in named.items() if not n.startswith(_NOT_HERE)}, assign=True)

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of sub-tokens."""
        vectors: nn.Embedding = self.embeddings.word_embeddings
        return vectors

    def set_input_embeddings(self, embeddings: nn.Embedding) -> None:
        """Take the vectors of sub-tokens from another model."""
        self.embeddings.word_embeddings = embeddings

    def set_attn_implementation(self, name: str) -> None:
        """``"sdpa"`` for torch's fused attention, ``"eager"`` for the same written out."""
        self.fused = name != "eager"


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        # not filled with random numbers, which takes as long as all else; weights always are loaded
        vectors = torch.zeros(config.vocab_size, config.hidden_size)
        self.word_embeddings = nn.Embedding.from_pretrained(vectors, freeze=False)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)
        states = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        out: Tensor = self.dropout(self.LayerNorm(states + self.position_embeddings(positions)))
        return out


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = nn.Module()
        self.attention.self = _Attention(config)
        self.attention.output = _Output(config.hidden_size, config)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = _Output(config.intermediate_size, config)

    def forward(self, states: Tensor, mask: Tensor, fused: bool) -> Tensor:
        attention, intermediate = self.attention, self.intermediate
        states = attention.output(attention.self(states, mask, fused), states)  # type: ignore[operator]
        out: Tensor = self.output(gelu(intermediate.dense(states)), states)  # type: ignore[operator]
        return out


class _Attention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.heads = config.num_attention_heads
        self.drop = config.attention_probs_dropout_prob

    def forward(self, states: Tensor, mask: Tensor, fused: bool) -> Tensor:
        maps = (self.query, self.key, self.value)
        query, key, value = (f(states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in maps)
        drop = self.drop if self.training else 0.0
        if fused:
            read = scaled_dot_product_attention(query, key, value, mask, drop)
        else:
            scores = query @ key.transpose(2, 3) / math.sqrt(key.shape[-1])
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            read = dropout(scores.softmax(-1), drop) @ value
        return read.transpose(1, 2).flatten(2)


class _Output(nn.Module):
    def __init__(self, width: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, given: Tensor, states: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dropout(self.dense(given)) + states)
        return out
