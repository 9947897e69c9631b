"""GLiNER2 checkpoints, of the span and of the boundary architecture, read by the gliner2 package.

In come texts and entity types, out go the spans that gliner2 finds, with its scores, for each of several models: one
pass of the encoder for all of them, and of the heads for each. Experts are the LoRA adapters that gliner2 writes. What
is merged leaves as an adapter or a checkpoint that gliner2 loads. It may import what is below ``backbones`` and the
backbone interface.
"""
