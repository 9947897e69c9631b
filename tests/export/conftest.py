"""A tiny causal language model in several shards, LoRA adapters on it, and what goes wrong while writing."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

Make = Callable[..., Any]


@pytest.fixture(scope="session")
def make_llama(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make(dtype, tied=False)``: the folder of a random Llama whose weights are in several files."""
    from transformers import LlamaConfig, LlamaForCausalLM

    made: dict[Any, Path] = {}

    def make(dtype: torch.dtype = torch.float32, tied: bool = False) -> Path:
        if (dtype, tied) not in made:
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=64,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                tie_word_embeddings=tied,
            )
            folder = tmp_path_factory.mktemp("llama") / "tiny-llama"
            LlamaForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size="30KB")
            assert len(list(folder.glob("*.safetensors"))) > 1
            made[dtype, tied] = folder
        return made[dtype, tied]

    return make


@pytest.fixture(scope="session")
def make_lora(make_llama: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make(seed, rank=4, **config)``: the folder of a random PEFT adapter on all linear layers of that Llama."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(seed: int = 0, rank: int = 4, **config: Any) -> Path:
        model = AutoModelForCausalLM.from_pretrained(make_llama())
        torch.manual_seed(seed)  # after the Llama, which is random, too
        settings = {"target_modules": "all-linear", "init_lora_weights": False, **config}
        peft_model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, **settings))
        folder = tmp_path_factory.mktemp("lora") / "lora"
        peft_model.save_pretrained(folder)
        return folder

    return make


@contextmanager
def _small_disk(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk() -> Callable[[int], AbstractContextManager[None]]:
    """``with small_disk(bytes)``: no file can grow beyond so many bytes.

    In force within the test only: pytest's own output may go to a longer file.
    """
    return _small_disk
