"""Teach a causal language model to classify words: a base with its heads, and experts over it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from samner.backbones.batches import DrawnRecipe
from samner.backbones.fit import Outcome, Schedule, fit
from samner.backbones.language_model.token_classification.batches import Batches
from samner.backbones.language_model.token_classification.inputs import Reader
from samner.backbones.language_model.token_classification.network import Heads, logits, predict
from samner.backbones.training import TrainingData, TrainingSet, identity
from samner.files import writing_tensors
from samner.precision import fastest_dtype
from samner.scoring import micro_f1
from samner.spans import flat

log = logging.getLogger(__name__)

THRESHOLD = 0.2  # of dev scores while training; what a pool answers with is set on finished models


class Recipe(DrawnRecipe):
    """Settings of a training run of this family; the defaults are those for an expert.

    Attributes:
        head_rate: Factor on the learning rate for the heads of a base.
    """

    steps: int = Field(default=1000, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    rank: int = Field(default=8, gt=0)
    alpha: int = Field(default=16, gt=0)
    max_types: int = Field(default=10, gt=0)
    paraphrase_rate: float = Field(default=0.2, ge=0, lt=1)
    dev_texts: int = Field(default=40, gt=0)
    evaluations: int = Field(default=2, ge=0)
    head_rate: float = Field(default=2.0, gt=0)


def train_base(
    model: Any,
    heads: Heads,
    reader: Reader,
    data: TrainingData,
    recipe: Recipe,
    *,
    run: Path | None = None,
    resume: bool = False,
) -> tuple[dict[str, Tensor], Outcome]:
    """Train heads and a LoRA of the base's own; the heads are trained in place, the model is left as it was.

    Returns:
        The tensors of the base's own adapter, named as PEFT saves them, and what the run did.
    """
    with _adapted(model, recipe) as adapted:
        parameters = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
        parameters |= {f"heads.{n}": p for n, p in heads.named_parameters()}
        rates = {name: recipe.head_rate for name in parameters if name.startswith("heads.")}
        outcome = _train(model, heads, reader, parameters, data, recipe, rates, run, resume)
        return _adapter_tensors(adapted), outcome


def train_adapter(
    model: Any,
    heads: Heads,
    reader: Reader,
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    base_name: str,
    run: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Train a LoRA adapter on all linear layers, heads frozen, and save it as a PEFT folder.

    The model is left as it was.

    Args:
        model: The base, its own adapter fused.
        heads: Of the base.
        reader: Of the base.
        data: What it learns from.
        recipe: How.
        out: Folder for the adapter's files.
        base_name: What the adapter's configuration calls the base.
        run: Folder for the checkpoint; none means no checkpoints.
        resume: Go on from the checkpoint in ``run``, if there is one.
    """
    heads.requires_grad_(False)
    with _adapted(model, recipe) as adapted:
        parameters = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
        outcome = _train(model, heads, reader, parameters, data, recipe, {}, run, resume)
        adapted.peft_config["default"].base_model_name_or_path = base_name
        for parameter in parameters.values():  # half the size, and less than a thousandth of a value is lost
            parameter.data = parameter.data.half()
        with writing_tensors(out):
            adapted.save_pretrained(str(out), save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    return outcome


@contextmanager
def _adapted(model: Any, recipe: Recipe) -> Iterator[Any]:
    """The model with a new LoRA adapter on all its linear layers, for as long as it trains."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", bias="none")
    model.requires_grad_(False)
    adapted = get_peft_model(model, config)
    try:
        yield adapted
    finally:
        adapted.unload()


def _adapter_tensors(adapted: Any) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: value.detach().clone() for name, value in state.items()}


def _train(
    model: Any,
    heads: Heads,
    reader: Reader,
    parameters: Mapping[str, nn.Parameter],
    data: TrainingData,
    recipe: Recipe,
    rates: Mapping[str, float],
    run: Path | None,
    resume: bool,
) -> Outcome:
    device = next(model.parameters()).device
    dtype = fastest_dtype(str(device))
    log.info("training in %s on %s", dtype, device)
    batches = Batches(
        data.train,
        reader,
        recipe,
        data.paraphrases,
    )

    def loss_at(step: int) -> Tensor:
        items = batches(step)
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            scores = logits(model, heads, [question for question, _ in items], reader.padding)
        right, asked = _filled_up([y for _, y in items], scores.shape)
        loss = binary_cross_entropy_with_logits(scores.float(), right.to(device), asked.to(device), reduction="sum")
        # by positives, not by all word and type pairs: else few entities or many types would count for little
        return loss / max(1.0, float(right[..., 2].sum()))

    def evaluate() -> float:
        scores = [dev_score(model, heads, reader, s, recipe.dev_texts, recipe.max_words) for s in data.dev]
        return sum(scores) / len(scores)

    schedule = Schedule.of(recipe, recipe.steps, judged=bool(data.dev), weight_decay=0.0)
    return fit(
        parameters,
        loss_at,
        schedule,
        evaluate=evaluate if data.dev else None,
        run=run,
        resume=resume,
        identity=identity(data, recipe, [(n, list(p.shape)) for n, p in parameters.items()]),
        rates=rates,
    )


def _filled_up(targets: Sequence[Tensor], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Targets of questions (each W x T x 3) as one tensor of the logits' shape, and ones where a question has some."""
    right, asked = torch.zeros(shape), torch.zeros(shape)
    for i, y in enumerate(targets):
        right[i, : y.shape[0], : y.shape[1]] = y
        asked[i, : y.shape[0], : y.shape[1]] = 1
    return right, asked


def dev_score(model: Any, heads: Heads, reader: Reader, data: TrainingSet, texts: int, max_words: int) -> float:
    """Strict span micro-F1 on the first examples of a dev split that are no longer than ``max_words``."""
    tokens = zip(data.examples, reader.tokenize([e.text for e in data.examples]), strict=True)
    short = [(example, its) for example, its in tokens if 0 < len(its.words) <= max_words][:texts]
    found = predict(model, heads, reader, [its for _, its in short], data.types, 1, THRESHOLD)[0]
    names = {t.name for t in data.types}
    return micro_f1([e.entities for e, _ in short], [flat(candidates) for candidates in found], names)
