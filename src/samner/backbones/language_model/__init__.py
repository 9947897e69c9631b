"""Causal language models as backbones: texts and entity types come in, entities go out, experts are LoRA adapters.

``backbone`` puts the parts together: ``loading``, ``base_card`` and ``gguf`` bring in a model, ``generation`` turns
texts into questions and answers into entities, ``engines`` answer questions here or on a server, ``training`` makes
experts. It may import the ground floor, ``backbones.base`` and ``backbones.mixed_batch``.
"""
