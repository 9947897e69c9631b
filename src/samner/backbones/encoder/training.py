"""Training of bases and experts of the encoder family, and its settings."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from samner.backbones.encoder.batches import WORKERS, Ahead, BatchPlan, Lesson
from samner.backbones.encoder.network import word_vectors
from samner.backbones.fit import Outcome, Schedule, dev_score, fit
from samner.backbones.training import TrainingData, TrainingRecipe, identity, safe_negatives
from samner.files import writing_tensors
from samner.precision import fastest_dtype
from samner.spans import ROLES

if TYPE_CHECKING:
    from samner.backbones.encoder.backbone import EncoderBackbone

log = logging.getLogger(__name__)


class Recipe(TrainingRecipe):
    """Settings of a training run; the defaults are those for an expert.

    Attributes:
        head_rate: Factor on the learning rate for the heads of a base.
        batch_tokens: Padded sub-tokens in a batch, about; a data set's share of them, where a batch mixes some.
        batch_texts: Texts in a batch, at most.
        sets_per_batch: Data sets drawn for a batch. With more than one, a step does not undo what the last one, of
            another data set, taught.
        size_power: Data sets are drawn in proportion to this power of their size, times their weight. Below 1 small
            ones, which may hold as many types, are seen more often than their size says.
        near_types: Share of the types that are asked for though no text of a group has them, that is drawn from those
            most like the ones that occur: they teach where a type ends.
        loss_over: What the loss is divided by: the ``cells`` of the targets, or those that are ``positive``, so that
            texts that are asked for hundreds of types teach as much as those that are asked for a few.
    """

    head_rate: float = 1.0
    batch_tokens: int = Field(default=512, gt=0)
    batch_texts: int = Field(default=16, gt=0)
    sets_per_batch: int = Field(default=1, gt=0)
    size_power: float = Field(default=0.5, ge=0, le=1)
    near_types: float = Field(default=0.0, ge=0, le=1)
    loss_over: Literal["cells", "positive"] = "cells"


def train_base(
    backbone: EncoderBackbone,
    data: TrainingData,
    recipe: Recipe,
    *,
    encoder: bool,
    run: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Train the heads and, if asked, the encoder's layers (its embeddings stay frozen) in place.

    Frozen embeddings keep words that no training text holds where pre-training put them, and need not be shipped.

    Args:
        backbone: That reads in float32.
        data: Training and dev sets.
        recipe: Settings.
        encoder: Whether the encoder's layers are trained.
        run: Folder of checkpoints.
        resume: Whether to go on from them.
    """
    parameters = {f"heads.{n}": p for n, p in backbone.heads.named_parameters()}
    if encoder:
        parameters |= {
            f"encoder.{n}": p
            for n, p in backbone.encoder.named_parameters()
            if not n.startswith(("embeddings.", "pooler."))
        }
    rates = {name: recipe.head_rate for name in parameters if name.startswith("heads.")}
    outcome = _train(backbone, parameters, data, recipe, rates=rates, run=run, resume=resume)
    backbone.types = {s.name: [t.prompt for t in s.types] for s in data.train}
    backbone.fingerprint = backbone._fingerprint()
    return outcome


def train_expert(
    backbone: EncoderBackbone,
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    run: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Train a LoRA adapter on all linear layers of the encoder, heads frozen, and save it as a PEFT folder.

    The backbone stays as it is, and can be asked meanwhile: a copy of its encoder learns.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    modules = list(backbone.module_shapes())
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in modules}),
        exclude_modules=r"pooler\..*" if hasattr(backbone.encoder, "pooler") else None,
        bias="none",
    )
    learner = copy.copy(backbone)
    learner.encoder = learner.reading = copy.deepcopy(backbone.encoder)
    model = get_peft_model(learner.encoder, config)  # puts the adapter into the encoder's own layers
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    outcome = _train(learner, parameters, data, recipe, rates={}, run=run, resume=resume)
    model.peft_config["default"].base_model_name_or_path = backbone.reference
    with writing_tensors(out):
        model.save_pretrained(str(out), save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    return outcome


def _train(
    backbone: EncoderBackbone,
    parameters: Mapping[str, nn.Parameter],
    data: TrainingData,
    recipe: Recipe,
    *,
    rates: Mapping[str, float],
    run: Path | None,
    resume: bool,
) -> Outcome:
    encoder = backbone.encoder
    foreign = sorted(set(data.foreign))

    def embed(prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        return backbone.type_vectors(prompts).cpu().numpy()

    plan = BatchPlan(
        data.train,
        backbone.tokenizer,
        recipe,
        max_tokens=backbone.max_tokens,
        foreign={s.name: safe_negatives(s, foreign, recipe.foreign_similarity, embed) for s in data.train},
        paraphrases=data.paraphrases,
        embed=embed,
    )
    schedule = Schedule.of(recipe, plan.steps, judged=bool(data.dev))
    vectors = backbone.type_vectors(plan.prompts)
    gpu = backbone.device.type == "cuda"
    batches = Ahead(plan, backbone.device, workers=WORKERS if gpu else 0)
    low = fastest_dtype(str(backbone.device))

    def loss_at(step: int) -> Tensor:
        parts = [loss_of(part) for part in batches(step)]
        losses, cells = (torch.stack(values).sum() for values in zip(*parts, strict=True))
        return losses / cells.clamp(min=1)

    def loss_of(batch: Lesson) -> tuple[Tensor, Tensor]:
        """Summed loss of texts, and what it is to be divided by."""
        with torch.autocast(backbone.device.type, low, enabled=low is not torch.float32):
            words = word_vectors(encoder, batch.texts)
        logits = backbone.heads(words, vectors[batch.prompts])
        # weighed, not picked: to pick, a GPU would have to be waited for
        told = (batch.texts.word_mask[:, :, None] & batch.asked[:, None, :]).unsqueeze(-1).to(logits.dtype)
        loss = binary_cross_entropy_with_logits(logits, batch.targets(), told, reduction="sum")
        return loss, told.sum() * len(ROLES) if recipe.loss_over == "cells" else batch.scores.sum()

    def evaluate() -> float:
        encoder.eval()
        try:
            # no type is novel to a model that is being taught it
            return float(np.mean([dev_score(backbone, s, recipe.dev_texts, novelty=0.0) for s in data.dev]))
        finally:
            encoder.train()

    encoder.train()
    try:
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
    finally:
        encoder.eval()
