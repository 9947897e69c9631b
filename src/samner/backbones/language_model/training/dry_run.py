"""Everything that comes before a training, on a tiny random model of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from samner.backbones.base import DryRun
from samner.backbones.language_model.generation.prompt import Prompt, unmarked
from samner.backbones.language_model.training.examples import Recipe, in_windows, sft_examples
from samner.backbones.language_model.training.rows import make_plan, packs_exactly
from samner.backbones.language_model.training.trainer import (
    describe,
    lora_parameters,
    paper_estimate,
    processes,
    put_adapter,
)
from samner.backbones.training import TrainingData
from samner.display import reason
from samner.errors import ModelError, SamnerError

_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
_STAND_IN_TOKENS = 4096
_MAX_TOKENS = 512  # of a text, as a new base has it


def dry_run(
    model: str,
    prompt: Prompt,
    data: TrainingData,
    recipe: Recipe,
    *,
    architecture: Mapping[str, Any] | None = None,
) -> DryRun:
    """Build configuration, questions, answers and adapter, and read one row with it; nothing is trained.

    Args:
        model: Folder or hub id; only its configuration and tokenizer are loaded, the latter if it is on this machine.
        prompt: How it is asked.
        data: Labelled texts.
        recipe: Settings.
        architecture: The model's configuration, ``model_type`` among it, so that nothing is loaded at all.

    Raises:
        ModelError: If the configuration cannot be read or is of no causal language model.
        SamnerError: If a setting or the data will not do.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.for_model(**architecture) if architecture else AutoConfig.from_pretrained(model)
        with torch.device("meta"):
            full = AutoModelForCausalLM.from_config(config)
        tokenizer, own = _tokenizer(model, data, prompt)
        small = AutoModelForCausalLM.from_config(_shrunk(config, len(tokenizer))).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{model}: not the configuration of a causal language model ({reason(error)})") from error
    data = in_windows(data, tokenizer, _MAX_TOKENS)
    if recipe.packing == "auto" and packs_exactly(small):
        recipe = recipe.model_copy(update={"packing": "on"})
    plan = make_plan(small, tokenizer, prompt, data, recipe, processes=processes())
    adapted = put_adapter(small, recipe)
    row = {key: torch.tensor([plan.train[0][key][: recipe.max_length]]) for key in ("input_ids", "labels")}
    with torch.no_grad():
        loss = float(adapted(**row).loss)
    if loss != loss:
        raise SamnerError(f"{model}: a tiny model of its architecture gives no loss on the first row")
    parameters, estimate = lora_parameters(full, recipe.rank), paper_estimate(config, recipe.rank)
    example = sft_examples(data, prompt, tokenizer, recipe, passes=1)[0]
    size = sum(p.numel() for p in full.parameters())
    lines = [
        f"{model} ({config.model_type}): {size:,} parameters",
        describe(parameters, estimate),
        f"\nthe first question:\n{unmarked(example.prompt)}\n\nits answer:\n{example.completion}\n",
        plan.describe(),
    ]
    if not own:
        lines.append("tokens are those of a stand-in: the model's own tokenizer is not on this machine")
    values = {
        "model": model,
        "architecture": config.model_type,
        "model_parameters": size,
        "adapter_parameters": parameters,
        "estimate": estimate,
        "question": unmarked(example.prompt),
        "answer": example.completion,
        "steps": plan.steps,
        "questions": plan.examples,
        "left_out": plan.left_out,
        "tokens": plan.tokens,
        "packed": plan.packed,
        "own_tokenizer": own,
    }
    return DryRun("\n".join(lines), values)


def _shrunk(config: Any, vocabulary: int) -> Any:
    """A configuration of the same architecture, tiny; what is a list with an entry for each layer is left out."""
    from transformers import AutoConfig

    values = {k: v for k, v in config.to_dict().items() if k not in ("layer_types", "architectures", "dtype")}
    tiny = {k: v for k, v in _TINY.items() if k != "head_dim" or values.get(k)}
    if values.get("num_key_value_heads") == values.get("num_attention_heads"):
        tiny["num_key_value_heads"] = tiny["num_attention_heads"]
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)
    return AutoConfig.for_model(**{**values, **tiny, **special, "vocab_size": vocabulary})


def _tokenizer(model: str, data: TrainingData, prompt: Prompt) -> tuple[Any, bool]:
    """The model's tokenizer if it is on this machine, else byte-level BPE made from the data; and which it is."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model, local_files_only=True), True
    except (OSError, ValueError):
        return _stand_in(data, prompt), False


def _stand_in(data: TrainingData, prompt: Prompt) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_STAND_IN_TOKENS,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [prompt.plain(q) for s in data.train for e in s.examples for q in prompt.questions(e.text, s.types)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
