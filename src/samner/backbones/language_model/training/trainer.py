"""Training of experts of the causal-LM family, through trl's SFTTrainer and PEFT."""

from __future__ import annotations

import math
import os
import pickle
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from samner.backbones.base import BASE
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.generation.ask import ask
from samner.backbones.language_model.generation.prompt import Prompt
from samner.backbones.language_model.loading import linear_layers
from samner.backbones.language_model.special_tokens import for_texts
from samner.backbones.language_model.training.checkpoints import Clock, Record
from samner.backbones.language_model.training.examples import Recipe
from samner.backbones.language_model.training.rows import Plan, make_plan
from samner.backbones.mixed_batch import MixedModels
from samner.backbones.training import TrainingData, TrainingSet, identity
from samner.display import reason
from samner.errors import ModelError, SamnerError
from samner.files import writing_tensors
from samner.lora import WEIGHTS_FILE
from samner.lora_config import CONFIG_FILE
from samner.precision import fastest_dtype
from samner.scoring import Counts, span_counts

try:
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from peft.helpers import disable_input_dtype_casting
    from transformers import EarlyStoppingCallback, PrinterCallback, set_seed
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
except ImportError as error:
    raise SamnerError(f"training a language model needs more packages: pip install 'samner[llm]' ({error})") from error

_RESULT = "adapter"
_IGNORED = -100  # the label of what is no answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Args:
        steps: Optimiser steps taken.
        seconds: Used, over all parts of an interrupted run.
        best_score: Best dev F1; none if that was not judged.
        best_loss: Best dev loss; likewise.
        best_step: When that was; the adapter is of this step.
        history: Every evaluation.
        stopped_early: Whether it ended for want of improvement.
        examples: Questions learnt from, over all passes.
        left_out: Questions that were too long.
        packed: Whether several questions shared a row.
        parameters: Size of the adapter.
        estimate: What the paper's 18 * H * r * L gives for it.
    """

    steps: int
    seconds: float
    best_score: float | None
    best_loss: float | None
    best_step: int
    history: list[dict[str, float]]
    stopped_early: bool
    examples: int
    left_out: int
    packed: bool
    parameters: int
    estimate: int


def train_adapter(
    model: Any,
    tokenizer: Any,
    prompt: Prompt,
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    *,
    base: str = "",
    run: Path | None = None,
    resume: bool = False,
) -> Outcome:
    """Train a LoRA adapter on all linear layers of a model and save it as a PEFT folder.

    A model that is held in 4 bits stays so (QLoRA). Under ``accelerate launch`` or ``torchrun`` the processes share
    the work and ``run``, and each writes the same adapter to its own ``out``. In the end the model is as it was.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        prompt: How it is asked.
        data: Texts short enough for it; see ``in_windows``.
        recipe: Settings.
        out: Folder for the adapter's files.
        base: Fingerprint of the model.
        run: Folder for checkpoints; several processes need one, the same.
        resume: Go on from the checkpoint in ``run``, if there is one.

    Raises:
        SamnerError: If a setting will not do here, no text fits, or the loss is not finite.
        ModelError: If the checkpoint in ``run`` cannot be read or is of another run.
    """
    if run is None and processes() > 1:
        raise SamnerError("several processes can only train one expert with a run folder that they share")
    with tempfile.TemporaryDirectory(prefix="samner-") as scratch:
        folder = run or Path(scratch)
        record = Record(folder, identity(data, recipe, prompt.model_dump(), base), resume=resume)
        if record.outcome is None:
            record.finish(asdict(_fit(model, tokenizer, prompt, data, recipe, folder, record)))
        out.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            shutil.copyfile(folder / _RESULT / name, out / name)
        _wait()  # for who copies last: the folder may be removed now
        return Outcome(**(record.outcome or {}))


def processes() -> int:
    """How many processes share the work, as ``accelerate launch`` and ``torchrun`` tell each."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _wait() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def put_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with a new LoRA adapter on all linear layers but the output layer."""
    set_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in linear_layers(model)}),
        bias="none",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    reference = str(model.name_or_path)
    if Path(reference).exists():  # a folder's place on this machine is nobody else's business
        config.base_model_name_or_path = Path(reference).name
    return adapted


def lora_parameters(model: Any, rank: int) -> int:
    """Parameters of such an adapter; the model may be on the meta device."""
    return sum(rank * (layer.in_features + layer.out_features) for layer in linear_layers(model).values())


def paper_estimate(config: Any, rank: int) -> int:
    """18 * H * r * L for H hidden units and L layers: Ding, Wei and Fan (ACL 2025)."""
    text = config.get_text_config()
    return int(18 * text.hidden_size * rank * text.num_hidden_layers)


def describe(parameters: int, estimate: int) -> str:
    """The size of an adapter and that estimate, in one line."""
    return f"an adapter of {parameters:,} parameters (the paper's estimate, 18*H*r*L, is {estimate:,})"


def _fit(
    model: Any, tokenizer: Any, prompt: Prompt, data: TrainingData, recipe: Recipe, folder: Path, record: Record
) -> Outcome:
    plan = make_plan(model, tokenizer, prompt, data, recipe, processes=processes())
    clock = Clock(recipe, record)
    with _trainer(model, tokenizer, plan, recipe, folder, clock) as trainer, _held(model):
        if recipe.metric == "f1":
            clock.judge = lambda: _dev_f1(trainer.model, tokenizer, prompt, data, recipe)
        parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        estimate = paper_estimate(model.config, recipe.rank)
        clock.say(f"{describe(parameters, estimate)}; {plan.describe()}")
        checkpoint = record.checkpoint()
        try:
            # autocast brings inputs to the type of the products: PEFT need not bring them to the adapter's before
            with clock.running(), disable_input_dtype_casting(trainer.model, active=trainer.args.bf16):
                trainer.train(resume_from_checkpoint=checkpoint)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            damaged = not isinstance(error, RuntimeError) or "PytorchStreamReader" in str(error)
            if checkpoint is None or not damaged:
                raise
            raise ModelError(
                f"{checkpoint}: cannot be read ({reason(error)}); remove {folder} to start again"
            ) from error
        if trainer.is_world_process_zero():
            with writing_tensors(folder / _RESULT):
                trainer.model.save_pretrained(str(folder / _RESULT), save_embedding_layers=False)
        trainer.accelerator.wait_for_everyone()
        state = trainer.state
    best = state.best_metric if plan.dev else None
    return Outcome(
        steps=state.global_step,
        seconds=clock.seconds,
        best_score=best if recipe.metric == "f1" else None,
        best_loss=best if recipe.metric == "loss" else None,
        best_step=int(state.best_global_step if plan.dev else state.global_step),
        history=[
            {"step": entry["step"], recipe.metric: round(entry[f"eval_{recipe.metric}"], 5)}
            for entry in state.log_history
            if f"eval_{recipe.metric}" in entry
        ],
        stopped_early=state.global_step < plan.steps and not clock.over,
        examples=plan.examples,
        left_out=plan.left_out,
        packed=plan.packed,
        parameters=parameters,
        estimate=estimate,
    )


class _Apart(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """Packed rows, one below the other, whose questions the model tells apart by their positions.

    In one long row, as trl lays them, attention without a kernel for that costs the square of the length of all.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        del batch["attention_mask"]  # with one, positions are not looked at
        return batch


@contextmanager
def _held(model: Any) -> Iterator[None]:
    """Keep the frozen weights in the type they are multiplied in, so that no step converts them or its states."""
    dtype = fastest_dtype(str(model.device))
    before = [(p, p.data) for p in model.parameters() if not p.requires_grad and p.dtype is torch.float32]
    for parameter, data in before:
        parameter.data = data.to(dtype)
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """trl's trainer with samner's schedule of the learning rate, scoring the tokens of answers alone."""

    clock: Clock
    lr_scheduler: Any

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy of the answers, whose tokens are all that the output layer sees: most are the questions'.

        (trl does so only where it has kernels for it.)
        """
        labels = inputs.pop("labels")[:, 1:]
        answers = labels != _IGNORED
        head = self.accelerator.unwrap_model(model).get_output_embeddings()
        handle = head.register_forward_pre_hook(lambda _, given: (given[0][:, :-1][answers],))
        try:
            outputs = model(**inputs, use_cache=False)
        finally:
            handle.remove()
        loss = cross_entropy(outputs.logits.float(), labels[answers], reduction="sum")
        count = answers.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        loss = loss / count
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over them, the count is of all
        return (loss, outputs) if return_outputs else loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: self.clock.rate(step, num_training_steps)
            )
        return self.lr_scheduler


@contextmanager
def _trainer(model: Any, tokenizer: Any, plan: Plan, recipe: Recipe, folder: Path, clock: Clock) -> Iterator[_Trainer]:
    """A trainer with a new adapter on the model; in the end the model is as it was before."""
    cuda = model.device.type == "cuda"
    judged = bool(plan.dev)
    apart = plan.packed and "flash" not in model.config._attn_implementation
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.rows,
        per_device_eval_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=plan.accumulate,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        train_sampling_strategy="random" if plan.packed else "group_by_length",
        max_length=None,  # what is too long is left out already
        padding_free=plan.packed and not apart,
        gradient_checkpointing=recipe.gradient_checkpointing,
        use_cpu=not cuda,
        bf16=fastest_dtype(str(model.device)) is torch.bfloat16,
        eval_strategy="steps" if judged else "no",  # that of the last step; the clock says which come before
        eval_steps=plan.steps,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=plan.steps,
        save_total_limit=3,
        load_best_model_at_end=judged,
        metric_for_best_model=f"eval_{recipe.metric}",
        greater_is_better=recipe.metric == "f1",
        logging_steps=max(1, plan.steps // 20),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,
    )
    if processes() == 1 and config.n_gpu > 1:
        config._n_gpu = 1  # the others are for processes of their own; torch's DataParallel is not supported by trl
    early = [EarlyStoppingCallback(recipe.patience)] if judged and recipe.patience else []
    # trl gives the model another forward and turns off its cache, transformers and PEFT leave notes
    before = [(thing, dict(vars(thing))) for thing in (model, model.config, model.generation_config)]
    padding = tokenizer.pad_token
    if not cuda and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("eager")  # on a CPU the backward pass of torch's fused kernel is slow
    adapted = put_adapter(model, recipe)
    try:
        trainer = _Trainer(
            model=adapted,
            args=config,
            train_dataset=Dataset.from_list(list(plan.train)),
            eval_dataset=Dataset.from_list(list(plan.dev)) if judged else None,
            data_collator=_Apart(tokenizer.pad_token_id, return_position_ids=True) if apart else None,
            processing_class=tokenizer,
            callbacks=[clock, *early],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.clock = clock
        yield trainer
    finally:
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_disable()
            model.disable_input_require_grads()
        adapted.unload()
        for thing, attributes in before:
            vars(thing).clear()
            vars(thing).update(attributes)
        tokenizer.pad_token = padding
        model.requires_grad_(False)
        model.eval()


def _dev_f1(model: Any, tokenizer: Any, prompt: Prompt, data: TrainingData, recipe: Recipe) -> float:
    """F1 averaged over the dev splits, whose texts the processes share."""
    rank, training = int(os.environ.get("RANK", "0")), model.training
    dtype = fastest_dtype(str(model.device))
    model.eval()
    try:
        counts = []
        with torch.autocast(model.device.type, dtype, enabled=dtype is not torch.float32):
            for data_set in data.dev:
                texts = range(rank, min(recipe.dev_texts, len(data_set.examples)), processes())
                counts.append(dev_counts(model, tokenizer, prompt, data_set, texts, recipe.micro_batch))
    finally:
        model.train(training)
    return mean_f1(counts, model.device)


_ROOM = 16
"""Tokens that an answer may have more than the longest right one."""


def dev_counts(model: Any, tokenizer: Any, prompt: Prompt, data: TrainingSet, texts: range, batch: int) -> Counts:
    """Ask a model about some texts of a data set, greedily and unconstrained, and count what it finds.

    Args:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        prompt: How it is asked.
        data: Texts, and the types to ask for.
        texts: Which of them.
        batch: Texts asked about at once.
    """
    examples = sorted((data.examples[i] for i in texts), key=lambda e: len(e.text))
    names = {t.name for t in data.types}
    counts: list[Counts] = []
    for start in range(0, len(examples), batch):
        asked = examples[start : start + batch]
        right = [
            answer
            for e in asked
            for answer in prompt.answer([(e.text[x.start : x.end], x.label) for x in e.entities], data.types)
        ]
        longest = max(len(ids) for ids in for_texts(tokenizer, right)(right, add_special_tokens=False)["input_ids"])
        engine = LocalEngine(model, tokenizer, MixedModels({}), prompt, longest + _ROOM)
        found = ask(
            engine,
            prompt,
            [e.text for e in asked],
            data.types,
            [BASE],
            0.0,
            constrained=False,
            statistics=defaultdict(Counter),
        )
        counts += span_counts([[e for e in x.entities if e.label in names] for x in asked], found[BASE])
    return sum(counts, start=Counts(0, 0, 0))


def mean_f1(counts: list[Counts], device: torch.device) -> float:
    """Strict span micro-F1 averaged over data sets, whose counts several processes share."""
    total = torch.tensor([[c.tp, c.fp, c.fn] for c in counts], device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return math.fsum(Counts(*row).f1 for row in total.tolist()) / len(counts)
