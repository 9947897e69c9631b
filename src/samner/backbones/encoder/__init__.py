"""The compact, label-conditioned recogniser over a sentence-transformers model.

In come texts and entity types, out go spans with scores, by the base or any of the experts and task models on it;
from labelled texts, it makes bases and experts. It may import what is below the backbones, and of those the interface
(``base``, ``recipe``) and ``mixed_batch``, but no other family.
"""
