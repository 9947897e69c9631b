"""A tiny random Llama with a tokenizer of its own, random experts on it, and a pool of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CORPUS = [
    "You find named entities in texts and answer in JSON.",
    "Find all mentions of these types of entities: - person - drug - organization - city Text: JSON:",
    'Copy each mention exactly as it is in the text. {"person": ["Ada Moreno"], "drug": [], "city": ["Basel"]}',
    "Aspirin relieves headache within hours. Ada Moreno of Rovers lives in Basel.",
]


def save_tokenizer(folder: Path, *, chat: bool) -> int:
    """Train a byte-level BPE tokenizer on a few sentences and save it; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    if chat:
        tokenizer.chat_template = (
            "<s>{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}"
        )
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


@pytest.fixture(scope="session")
def make_lm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make(chat=False, mistral=False, **config)``: the folder of a random Llama or Mistral of two layers."""

    def make(*, chat: bool = False, mistral: bool = False, **config: object) -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

        folder = tmp_path_factory.mktemp("lm") / "tiny-lm"
        vocabulary = save_tokenizer(folder, chat=chat)
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        settings = {**sizes, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3}
        kind, its_config = (MistralForCausalLM, MistralConfig) if mistral else (LlamaForCausalLM, LlamaConfig)
        model = kind(its_config(vocab_size=vocabulary, **{**settings, **config}))
        model.generation_config.eos_token_id = 1
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def lm(make_lm: Callable[..., Path]) -> Path:
    return make_lm()


@pytest.fixture(scope="session")
def make_expert(lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make(seed, **config)``: the folder of a random PEFT adapter on all linear layers of that Llama."""

    def make(seed: int, **config: object) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False, **config}
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(lm), LoraConfig(task_type="CAUSAL_LM", **settings))
        folder = tmp_path_factory.mktemp("expert") / f"expert{seed}"
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def make_base(lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make(folder=lm, **card)``: the folder of a base, with some entries of its card changed."""
    from samner.backbones.language_model.base_card import create_base
    from samner.files import read_json, write_json

    def make(folder: Path = lm, **card: object) -> Path:
        base = tmp_path_factory.mktemp("base") / "base"
        base.mkdir()
        create_base(base, str(folder))
        write_json(base / "base.json", {**read_json(base / "base.json"), "max_new_tokens": 40, **card})
        return base

    return make


@pytest.fixture(scope="session")
def base(make_base: Callable[..., Path]) -> Path:
    return make_base()
