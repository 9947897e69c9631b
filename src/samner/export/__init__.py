"""Merges and task models as folders that other programs load: PEFT, transformers, vLLM, llama.cpp, onnxruntime.

In come adapters to merge, or a task model; out go new folders, each with a manifest and a model card. A form of export
is a file of its own (``adapter``, ``fused``, ``delta``, ``vllm``, ``gguf``, ``onnx``) and an entry in ``folders``.
May import everything up to ``task_model``, but for selection, and no family of backbones.
"""

from __future__ import annotations

from samner.export.folders import MERGES, MODELS, check_task_model, export_merge, export_task_model

__all__ = ["MERGES", "MODELS", "check_task_model", "export_merge", "export_task_model"]
