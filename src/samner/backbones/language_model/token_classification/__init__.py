"""A causal language model asked in one pass for the type of every word, after "Just Pass Twice" (arXiv 2604.05158).

In come texts and entity types, out go start, end and inside probabilities of every word for every type: the model
reads the types and then the text twice, and the words of the second copy, which have seen all of it, are scored
against the types. Experts are LoRA adapters on all linear layers, as in the paper; the heads belong to the base and
stay as they are. It may import what is below ``backbones`` and the backbone interface.
"""
