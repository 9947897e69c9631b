"""The compact, label-conditioned recogniser over any sentence-transformers model."""
