"""The size of a LoRA adapter on all linear layers, and what it is estimated at."""

from __future__ import annotations

from typing import Any

from samner.errors import SamnerError


def linear_layers(model: Any) -> dict[str, Any]:
    """The linear layers that an adapter goes on, by name: all but the output layer.

    Raises:
        SamnerError: If the model has none, as those of GPT-2's kind, whose layers are transposed.
    """
    from torch import nn

    head = model.get_output_embeddings()
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    if not layers:
        raise SamnerError(f"{type(model).__name__} has no linear layers of torch's kind for an adapter to go on")
    return layers


def lora_parameters(model: Any, rank: int) -> int:
    """Parameters of a LoRA adapter on all these layers; the model may be on the meta device."""
    return sum(rank * (layer.in_features + layer.out_features) for layer in linear_layers(model).values())


def paper_estimate(config: Any, rank: int) -> int:
    """18 * H * r * L for H hidden units and L layers: Ding, Wei and Fan (ACL 2025)."""
    text = config.get_text_config()
    return int(18 * text.hidden_size * rank * text.num_hidden_layers)


def describe(parameters: int, estimate: int) -> str:
    """Both in one line."""
    return f"an adapter of {parameters:,} parameters (the paper's estimate, 18*H*r*L, is {estimate:,})"
