"""The base of a small language model: a Llama, trained from nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from samner.backbones.fit import Schedule, fit
from samner.backbones.language_model.base_card import BaseCard
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.files import atomic_folder
from studies.small_lm.batches import Batch, Batches
from studies.small_lm.tokenizer import without_blank

PROMPT = Path(__file__).parent / "prompt.yaml"
"""Steps between two lines of the log."""

log = logging.getLogger(__name__)


def new_model(settings: Mapping[str, Any], tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """An untrained Llama, in which a token after a blank starts as the token itself plus one vector for all blanks."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings["hidden"],
            intermediate_size=settings["intermediate"],
            num_hidden_layers=settings["layers"],
            num_attention_heads=settings["heads"],
            num_key_value_heads=settings["heads"],
            max_position_embeddings=settings["context"],
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        tokens = model.get_input_embeddings().weight
        tokens.normal_(0, settings["hidden"] ** -0.5)
        blank = torch.randn(settings["hidden"]) * settings["hidden"] ** -0.5
        for after_blank, token in without_blank(tokenizer).items():
            tokens[after_blank] = tokens[token] + blank
    return model


def loss_of(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Mean cross-entropy of the tokens that count; in bfloat16 on a GPU."""
    batch = batch.to(model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
        hidden = model.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).last_hidden_state
        wanted = batch.labels[:, 1:]
        counts = wanted != -100
        return cross_entropy(model.lm_head(hidden[:, :-1][counts]).float(), wanted[counts])


def train_base(
    settings: Mapping[str, Any],
    tokenizer: Any,
    phases: Sequence[tuple[Batches, Schedule]],
    types: Mapping[str, Sequence[str]],
    run: Path,
    folder: Path,
    *,
    data: str = "",
    device: str = "cpu",
) -> None:
    """Train the base and write it in half precision as a folder that a pool can be made over; resumable.

    Args:
        settings: ``model`` and ``base`` of a settings file.
        tokenizer: Of the base.
        phases: What it learns, one after another, and for how long.
        types: Prompts of the entity types that it is taught, by data set.
        run: Folder for the checkpoint.
        folder: To write; must not exist.
        data: What else must be equal for a checkpoint to be resumed.
        device: Torch device.
    """
    seed = settings["base"]["seed"]
    model = new_model(settings["model"], tokenizer, seed).to(device)
    log.info("base: %d parameters", model.num_parameters())
    same = [settings["model"], settings["base"], load_prompt(PROMPT).model_dump(), data]
    for number, (batches, schedule) in enumerate(phases):
        outcome = fit(
            dict(model.named_parameters()),
            partial(_loss_at, model, batches),
            schedule,
            run=run / str(number),
            resume=True,
            identity=hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest(),
        )
        log.info("base: phase %d trained in %.0f s", number, outcome.seconds)
    limits = settings["base"]["limits"]
    card = BaseCard(model="model", prompt=PROMPT.name, types={name: list(t) for name, t in types.items()}, **limits)
    with atomic_folder(folder) as temporary:
        model.half().save_pretrained(temporary / "model")
        tokenizer.save_pretrained(temporary / "model")
        (temporary / PROMPT.name).write_bytes(PROMPT.read_bytes())
        card.write(temporary)


def _loss_at(model: LlamaForCausalLM, batches: Batches, step: int) -> Tensor:
    return loss_of(model, batches.batch(step))
