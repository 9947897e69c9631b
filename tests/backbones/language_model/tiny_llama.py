"""A random Llama of some thousand parameters and a tokenizer of its own, for tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samner.backbones import TrainingData, TrainingSet
from samner.entities import Entity, Example, entity_types

RIVERS = ("Rhine", "Elbe", "Volga", "Seine")
CITIES = ("Bonn", "Lyon", "Kazan", "Tours")
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def example(text: str, **entities: str) -> Example:
    spans = [(text.index(part), text.index(part) + len(part), label) for label, part in entities.items()]
    return Example(text, tuple(Entity(*span) for span in spans))


def geography(texts: int = 16) -> TrainingSet:
    """Sentences with a river and a city each."""
    pairs = [(river, city) for river in RIVERS for city in CITIES][:texts]
    examples = [example(f"The {river} flows through {city}.", river=river, city=city) for river, city in pairs]
    return TrainingSet("geo", examples, entity_types({"river": "flowing water", "city": ""}))


def data(texts: int = 16) -> TrainingData:
    return TrainingData([geography(texts)], foreign=["chess opening", "gemstone: a precious stone"])


def tiny_tokenizer(*, chat: bool = False, texts: Sequence[str] | None = None) -> Any:
    """Byte-level BPE of 300 tokens, learnt from some texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|eos|>", "<|pad|>", "<|end|>", "<|user|>", "<|system|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts or [e.text for e in geography().examples], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|eos|>", pad_token="<|pad|>")
    fast.chat_template = CHAT if chat else None
    return fast


def tiny_llama(seed: int = 0) -> Any:
    """Two layers of 32 hidden units."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,  # so that logits are not all alike
        eos_token_id=0,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def tiny_base(root: Path, **settings: Any) -> Path:
    """The base of a pool over that model, made in a folder as the command line makes one."""
    from samner.backbones.language_model.base_card import create_base

    tiny_llama().save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    (root / "base").mkdir()
    create_base(root / "base", str(root / "model"), **settings)
    return root / "base"
