"""Teach experts over a GLiNER2 model: by its own losses, as LoRA adapters that gliner2 loads."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from samner.backbones.batches import DrawnBatches, DrawnRecipe
from samner.backbones.fit import Outcome, Schedule, dev_score, fit
from samner.backbones.gliner2.layers import taught_layers
from samner.backbones.training import TrainingData, identity
from samner.entities import EntityType, Example
from samner.files import writing_tensors
from samner.precision import fastest_dtype
from samner.spans import word_spans
from samner.words import sound

if TYPE_CHECKING:
    from samner.backbones.gliner2.backbone import Gliner2Backbone

Item = tuple[str, dict[str, Any], int]
"""A text, what gliner2 is to learn of it, and how many words both have."""


class Recipe(DrawnRecipe):
    """Settings of a training run of this family; rank, scale and learning rate are gliner2's own.

    Attributes:
        weight_decay: Of AdamW.
    """

    steps: int = Field(default=2000, gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_tokens: int = Field(default=2048, gt=0)
    max_words: int = Field(default=200, gt=0)
    evaluations: int = Field(default=5, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)


def train_adapter(
    backbone: Gliner2Backbone,
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    run: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Train a LoRA adapter on all linear layers that entities teach, and save it as a PEFT folder.

    The backbone stays as it is, and can be asked meanwhile: a copy of its model learns.

    Args:
        backbone: The base.
        data: What it learns from.
        recipe: How.
        out: Folder for the adapter's files.
        run: Folder for the checkpoint; none means no checkpoints.
        resume: Go on from the checkpoint in ``run``, if there is one.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    learner = copy.copy(backbone)
    learner.model = copy.deepcopy(backbone.model)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=taught_layers(learner.model),
        bias="none",
    )
    adapted = get_peft_model(learner.model, config)  # puts the adapter into the model's own layers
    parameters = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    outcome = teach(learner, parameters, data, recipe, run=run, resume=resume)
    name, _, commit = backbone.card.model.partition("@")
    written = adapted.peft_config["default"]
    # a base in a folder has no name that means anything elsewhere
    written.base_model_name_or_path = name if commit else backbone.fingerprint
    written.revision = commit or None
    with writing_tensors(out):
        adapted.save_pretrained(str(out), save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    return outcome


def teach(
    learner: Gliner2Backbone,
    parameters: Mapping[str, torch.nn.Parameter],
    data: TrainingData,
    recipe: Recipe,
    *,
    run: Path | None = None,
    resume: bool = False,
    rates: Mapping[str, float] | None = None,
) -> Outcome:
    """Fit parameters of a model by gliner2's own losses, where they are.

    Args:
        learner: Whose model learns; nothing else may ask it meanwhile.
        parameters: Those, by name.
        data: What it learns from.
        recipe: How.
        run: Folder for the checkpoint; none means no checkpoints.
        resume: Go on from the checkpoint in ``run``, if there is one.
        rates: Factors on the learning rate by parameter name.
    """
    from gliner2.processor import SamplingConfig

    model = learner.model
    # types are drawn here; made-up names for them would need descriptions to be understood
    model.processor.sampling_config = SamplingConfig(synthetic_entity_label_prob=0.0)
    batches = DrawnBatches(
        data.train,
        recipe,
        data.paraphrases,
        lambda example, types, prompts: lesson(learner, example, types, prompts),
        lambda item: item[2],
    )
    dtype = fastest_dtype(str(learner.device))

    def loss_at(step: int) -> Tensor:
        items = batches(step)
        with _random(recipe.seed, step):
            batch = model.processor.collate_fn_train(
                [(text, schema) for text, schema, _ in items],
                architecture=model.architecture,
                on_capacity_exceeded="truncate_with_warning",
            )
        with torch.autocast(learner.device.type, dtype, enabled=dtype is not torch.float32):
            loss: Tensor = model(batch.to(learner.device))["total_loss"]
        return loss / len(items)

    def evaluate() -> float:
        try:
            return float(np.mean([dev_score(learner, s, recipe.dev_texts) for s in data.dev]))
        finally:
            model.train()

    model.train()
    try:
        return fit(
            parameters,
            loss_at,
            Schedule.of(recipe, recipe.steps, judged=bool(data.dev), weight_decay=recipe.weight_decay),
            evaluate=evaluate if data.dev else None,
            run=run,
            resume=resume,
            identity=identity(data, recipe, [(n, list(p.shape)) for n, p in parameters.items()]),
            rates=rates,
        )
    finally:
        model.eval()


def lesson(
    backbone: Gliner2Backbone, example: Example, types: Sequence[EntityType], prompts: Sequence[str]
) -> Item | None:
    """What gliner2 is to learn of a text; none of one without a word.

    An entity that begins or ends inside a word is widened to the whole word.

    Args:
        backbone: Cuts the text into words.
        example: The text and its entities.
        types: That are asked for.
        prompts: Theirs, or what is said instead.
    """
    (tokens,) = backbone.tokenize([example.text])
    if not tokens.words:
        return None
    said: dict[str, str] = {}  # by type's name
    for kind, prompt in zip(types, prompts, strict=True):
        said[kind.name] = kind.name if prompt == kind.prompt or prompt in said.values() else prompt
    text = sound(example.text)
    entities: dict[str, list[dict[str, Any]]] = {name: [] for name in said.values()}
    for first, last, label in dict.fromkeys(span[:3] for span in word_spans(example.entities, tokens.words, said)):
        start, end = tokens.words[first].start, tokens.words[last].end
        entities[said[label]].append({"text": text[start:end], "start": start, "end": end})
    descriptions = {t.name: t.description for t in types if t.description and said[t.name] == t.name}
    cost = len(tokens.words) + sum(2 + len(prompt.split()) for prompt in prompts)
    return text, {"entities": entities, "entity_descriptions": descriptions}, cost


@contextmanager
def _random(seed: int, step: int) -> Iterator[None]:
    """Within, what gliner2 draws is a function of seed and step; Python's own generator is put back."""
    state = random.getstate()
    random.seed(f"{seed}.{step}")
    try:
        yield
    finally:
        random.setstate(state)
