"""Sentence encoders, as sentence-transformers writes them: a transformer whose states become one vector a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize

from samner.bert import Bert, BertConfig
from samner.display import brief, reason
from samner.errors import ModelError
from samner.files import inside, read_json
from samner.quiet import quiet
from samner.windows import batches

_BATCH_TOKENS = {"cpu": 1024, "other": 32768}  # padded; on a CPU more do not fit its cache
_POOLING = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
"""Ways to pool, and what they were called in older files."""
_LEAST_TOKENS = 3
"""A sub-token, and what stands before and after it."""
_OTHERS = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken")


class SentenceEncoder(nn.Module):
    """What makes vectors of sentences; threads may share it, and must not change its weights.

    Args:
        folder: As sentence-transformers writes it, or the transformer alone, whose states are averaged then. Of what
            may follow the transformer, pooling (mean, first token, maximum) and normalising are read.
        device: A torch device name.
        dtype: What it computes in.

    Attributes:
        transformer: Gives ``last_hidden_state`` for ``input_ids`` and ``attention_mask``.
        tokenizer: Cuts texts that are too long, and does not pad.
        max_tokens: The most that it reads of a text, special tokens included.
        pad_id: The token that fills up what is shorter.

    Raises:
        ModelError: If it holds anything else, or is damaged.
    """

    def __init__(self, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        place, self.pooling = _modules(folder)
        config = read_json(place / "config.json")
        settings = _optional(place / "sentence_bert_config.json")
        if _optional(folder / "config_sentence_transformers.json").get("default_prompt_name"):
            raise ModelError(f"{folder}: puts a prompt before every sentence, which is not supported")
        self.transformer: Any = _transformer(place, config, dtype).to(device).eval()
        positions = int(config["max_position_embeddings"])
        self.max_tokens = min(int(settings.get("max_seq_length") or positions), positions)
        if self.max_tokens < _LEAST_TOKENS:
            raise ModelError(f"{folder}: reads {self.max_tokens} tokens of a text, which is too little")
        self.pad_id = int(config.get("pad_token_id") or 0)
        self.tokenizer = _tokenizer(place)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)
        self.lower = bool(settings.get("do_lower_case"))

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.transformer.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """B x H vectors, float32, of B x T sub-tokens."""
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        if self.pooling == "cls":
            first: Tensor = states[:, 0]
            return first
        mask = attention_mask.unsqueeze(-1)
        if self.pooling == "max":
            most: Tensor = states.masked_fill(mask == 0, -torch.inf).amax(1)
            return most
        mean: Tensor = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return mean

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """L2-normalised vectors, one row a text; texts of like length are read together."""
        read = [one.ids for one in self.tokenizer.encode_batch([t.lower() if self.lower else t for t in texts])]
        device = next(self.transformer.parameters()).device
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        budget = _BATCH_TOKENS["cpu" if device.type == "cpu" else "other"]
        for rows in batches([len(ids) for ids in read], budget):
            ids = torch.full((len(rows), max(len(read[row]) for row in rows)), self.pad_id)
            mask = torch.zeros_like(ids)
            for i, row in enumerate(rows):
                ids[i, : len(read[row])] = torch.tensor(read[row])
                mask[i, : len(read[row])] = 1
            with torch.inference_mode():
                vectors[rows] = normalize(self(ids.to(device), mask.to(device))).cpu().numpy()
        return vectors


def ends(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that a tokenizer puts before a text, and after it."""
    example = tokenizer.encode("a")
    ids, special = example.ids, example.special_tokens_mask
    content = [place for place, mark in enumerate(special) if not mark] or [len(ids)]
    return tuple(ids[: content[0]]), tuple(ids[content[-1] + 1 :])


def _modules(folder: Path) -> tuple[Path, str]:
    """The transformer's folder, and how its states are pooled."""
    path = folder / "modules.json"
    if not path.is_file():
        return folder, "mean"
    try:
        modules = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in json.loads(path.read_bytes())]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: not a list of a sentence-transformers model's modules ({error!r})") from error
    kinds = [kind for kind, _ in modules if kind != "Normalize"]
    if kinds != ["Transformer", "Pooling"]:
        raise ModelError(f"{path}: only Transformer, Pooling and Normalize are read, not {brief(kinds)}")
    (_, place), (_, pooling), *_ = modules
    config = read_json(inside(folder, pooling) / "config.json")
    mode = config.get("pooling_mode") or [name for name, key in _POOLING.items() if config.get(key)]
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if not isinstance(mode, str) or mode not in _POOLING or any(config.get(key) for key in _OTHERS):
        raise ModelError(f"{inside(folder, pooling)}: pools by {mode!r}; {', '.join(_POOLING)} are supported")
    return (inside(folder, place) if place else folder), str(mode)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _transformer(folder: Path, config: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    sizes, weights = BertConfig.of(config), folder / "model.safetensors"
    if sizes is None or not weights.is_file():
        from transformers import AutoModel

        with quiet():
            model: nn.Module = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        return model
    bert = Bert(sizes)
    try:
        bert.load(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{weights}: not the weights of a BERT ({reason(error)})") from error
    return bert.to(dtype)


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library has no class of its own
            raise ModelError(f"{path}: not a tokenizer ({reason(error)})") from error
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"{folder}: its tokenizer is not of the tokenizers library, which is needed")
    return Tokenizer.from_str(backend.to_str())
