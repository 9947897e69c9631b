"""The shapes of Llama models, as module names to (out, in)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The widths of a Llama decoder layer; ``kv`` is that of all key or value heads together."""

    hidden: int
    intermediate: int
    kv: int

    @property
    def widths(self) -> tuple[int, int, int]:
        return self.hidden, self.intermediate, self.kv

    def layer(self, number: int) -> dict[str, tuple[int, int]]:
        """The seven linear modules of a layer."""
        prefix = f"model.layers.{number}"
        return {
            f"{prefix}.self_attn.q_proj": (self.hidden, self.hidden),
            f"{prefix}.self_attn.k_proj": (self.kv, self.hidden),
            f"{prefix}.self_attn.v_proj": (self.kv, self.hidden),
            f"{prefix}.self_attn.o_proj": (self.hidden, self.hidden),
            f"{prefix}.mlp.gate_proj": (self.intermediate, self.hidden),
            f"{prefix}.mlp.up_proj": (self.intermediate, self.hidden),
            f"{prefix}.mlp.down_proj": (self.hidden, self.intermediate),
        }

    def modules(self, layers: int) -> dict[str, tuple[int, int]]:
        """Those of so many layers."""
        return {name: shape for number in range(layers) for name, shape in self.layer(number).items()}

    def numel(self, layers: int) -> int:
        """How many values the task vector of so many layers has."""
        return sum(rows * columns for rows, columns in self.modules(layers).values())


LLAMA_70B = Shape(8192, 28672, 1024)  # Llama-3.1-70B, which has 80 layers
LLAMA_8B = Shape(4096, 14336, 1024)  # Llama-3.1-8B, which has 32 layers
LLAMA_1B = Shape(2048, 8192, 512)  # Llama-3.2-1B, which has 16 layers
SMALL = Shape(512, 1792, 128)  # an eighth of the 8B's widths, for trying
