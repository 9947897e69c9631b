"""A training loop for families that need no more: time box, early stopping, atomic checkpoints, resume.

It is our own because a checkpoint here is one safetensors file, whereas the usual trainers pickle theirs, and because
batches are a function of the step.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from samner.backbones.base import BASE
from samner.backbones.training import TrainingRecipe, TrainingSet
from samner.errors import ModelError, SamnerError
from samner.files import atomic_file, writing_tensors
from samner.progress import Progress
from samner.scoring import micro_f1
from samner.spans import flat
from samner.words import cut_example

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train and how fast.

    Args:
        steps: Optimiser steps.
        learning_rate: Peak; reached after the warm-up, then falls linearly to zero.
        warmup: Share of the run spent rising.
        weight_decay: Decoupled, as in AdamW (Loshchilov and Hutter 2019).
        clip: Largest gradient norm.
        seed: Of everything random.
        max_minutes: Time box; the learning rate then falls with the time used where that runs ahead of the steps.
        evaluate_every: Steps between evaluations on the dev split; 0 for none.
        patience: Evaluations without a better score after which training stops; 0 for never.
        checkpoint_minutes: Minutes between checkpoints.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    max_minutes: float | None = None
    evaluate_every: int = 0
    patience: int = 0
    checkpoint_minutes: float = 2.0

    @classmethod
    def of(cls, recipe: TrainingRecipe, steps: int, *, judged: bool, **more: float) -> Schedule:
        """The schedule of a recipe, for so many steps; ``judged`` says whether there is a dev split."""
        return cls(
            steps=steps,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            max_minutes=recipe.max_minutes,
            evaluate_every=max(1, steps // recipe.evaluations) if judged and recipe.evaluations else 0,
            patience=recipe.patience,
            **more,
        )


def share_of_peak(progress: float, warmup: float) -> float:
    """The learning rate as a share of its peak: it rises linearly, then falls linearly to zero.

    Args:
        progress: Share of the run done, in [0, 1].
        warmup: Share of the run spent rising.
    """
    return min(progress / max(warmup, 1e-9), (1 - progress) / (1 - warmup), 1.0)


@dataclass(slots=True)
class Outcome:
    """What a run did: steps taken, seconds used, the best dev score and when, and every evaluation."""

    steps: int
    seconds: float
    best_score: float | None
    best_step: int
    history: list[dict[str, float]]
    stopped_early: bool


def fit(
    parameters: Mapping[str, nn.Parameter],
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    *,
    evaluate: Callable[[], float] | None = None,
    run: Path | None = None,
    resume: bool = False,
    identity: str = "",
    rates: Mapping[str, float] | None = None,
) -> Outcome:
    """Minimise ``loss_at(step)``; the best parameters by ``evaluate`` (or the last ones) are left in place.

    Args:
        parameters: What is trained, by name; needs gradients from here on, and none afterwards.
        loss_at: The loss of a step's batch, a scalar with a graph.
        schedule: See there.
        evaluate: A score on the dev split, higher being better.
        run: Folder for the checkpoint; none means no checkpoints.
        resume: Go on from the checkpoint in ``run``, if there is one.
        identity: What must be equal for a checkpoint to be resumed: a digest of settings and data.
        rates: Factors on the learning rate by parameter name.

    Raises:
        SamnerError: If the loss is not finite, or a checkpoint belongs to other settings.
    """
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        return _fit(parameters, loss_at, schedule, evaluate, run, resume, identity, rates or {})
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(False)


def _fit(
    parameters: Mapping[str, nn.Parameter],
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    evaluate: Callable[[], float] | None,
    run: Path | None,
    resume: bool,
    identity: str,
    rates: Mapping[str, float],
) -> Outcome:
    names = list(parameters)
    factors = {n: rates.get(n, 1.0) for n in names}
    # a group a factor, not a parameter: each group is a call
    groups = [
        {"params": [parameters[n] for n in names if factors[n] == factor], "factor": factor}
        for factor in dict.fromkeys(factors.values())
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    torch.manual_seed(schedule.seed)
    state = _State(names, parameters, optimizer, identity)
    checkpoint = run / CHECKPOINT if run else None
    if resume and checkpoint and checkpoint.is_file():
        state.load(checkpoint)
        log.info("resumed at step %d of %d", state.step, schedule.steps)
    started = saved = time.monotonic()
    before = state.seconds

    with Progress() as show:
        watch = _Watch(show)
        try:
            while state.step < schedule.steps and not state.stopped:
                state.seconds = before + time.monotonic() - started
                progress = state.step / schedule.steps
                if schedule.max_minutes is not None:
                    progress = max(progress, state.seconds / (60 * schedule.max_minutes))
                if progress >= 1:
                    break
                rate = schedule.learning_rate * share_of_peak(progress, schedule.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                state.rng = torch.get_rng_state()
                loss = loss_at(state.step)
                value = float(loss.detach())
                if value != value or value in (float("inf"), float("-inf")):
                    raise SamnerError(f"the loss is {value} at step {state.step}: lower the learning rate")
                loss.backward()
                nn.utils.clip_grad_norm_(list(parameters.values()), schedule.clip)
                optimizer.step()
                optimizer.zero_grad()
                state.step += 1
                watch(state.step, max(progress, state.step / schedule.steps), value)
                if evaluate and schedule.evaluate_every and state.step % schedule.evaluate_every == 0:
                    state.judge(evaluate(), schedule.patience)
                if checkpoint and time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
                    state.rng = torch.get_rng_state()
                    state.save(checkpoint)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if checkpoint:
                state.save(checkpoint)
            raise

    if evaluate and not state.stopped and state.judged_at != state.step:
        state.judge(evaluate(), 0)
    state.seconds = before + time.monotonic() - started
    if checkpoint:
        state.rng = torch.get_rng_state()
        state.save(checkpoint)
    if state.best:
        with torch.no_grad():
            for name, best in state.best.items():
                parameters[name].copy_(best)
    return Outcome(state.step, state.seconds, state.best_score, state.best_step, state.history, state.stopped)


def dev_score(learner: Any, data: TrainingSet, texts: int, **asked: Any) -> float:
    """Strict span micro-F1 of what is being taught, long texts cut into windows.

    Args:
        learner: A backbone with ``tokenize``, ``read``, ``max_tokens`` and ``threshold``.
        data: A dev split.
        texts: How many of its examples are read, from the first.
        asked: What ``read`` takes besides.
    """
    examples = data.examples[:texts]
    tokens = learner.tokenize([example.text for example in examples])
    pieces = [
        piece
        for example, its in zip(examples, tokens, strict=True)
        for piece in cut_example(example, its, learner.max_tokens)
    ]
    found = learner.read([t for _, t in pieces], data.types, [BASE], learner.threshold, **asked)[BASE]
    names = {t.name for t in data.types}
    return micro_f1([e.entities for e, _ in pieces], [flat(candidates) for candidates in found], names)


class _Watch:
    """Shows each step and its smoothed loss, and logs some."""

    def __init__(self, show: Progress) -> None:
        self.show = show
        self.smooth: float | None = None

    def __call__(self, step: int, share: float, loss: float) -> None:
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
        self.show("training", share, 1.0, f"step {step}, loss {self.smooth:.4f}")
        if step % 200 == 0:
            log.info("step %d (%.0f %%): loss %.4f", step, 100 * share, self.smooth)


class _State:
    """Everything a run needs to go on where it stopped, as one safetensors file."""

    def __init__(
        self, names: list[str], parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.AdamW, identity: str
    ) -> None:
        self.names = names
        self.parameters = parameters
        self.optimizer = optimizer
        self.identity = identity
        self.step = 0
        self.rng = torch.get_rng_state()  # before step's batch: a run stopped in mid-step does that step again
        self.seconds = 0.0
        self.stopped = False
        self.judged_at = -1
        self.best: dict[str, Tensor] = {}
        self.best_score: float | None = None
        self.best_step = 0
        self.history: list[dict[str, float]] = []

    def judge(self, score: float, patience: int) -> None:
        self.judged_at = self.step
        self.history.append({"step": self.step, "score": round(score, 5)})
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best = {name: value.detach().clone() for name, value in self.parameters.items()}
        worse = len([h for h in self.history if h["step"] > self.best_step])
        log.info("step %d: dev score %.4f (best %.4f at %d)", self.step, score, self.best_score, self.best_step)
        self.stopped = bool(patience) and worse >= patience

    def save(self, path: Path) -> None:
        tensors = {"rng": self.rng}
        for name in self.names:
            tensors[f"value.{name}"] = self.parameters[name].detach()
            for key, value in self.optimizer.state.get(self.parameters[name], {}).items():
                tensors[f"{key}.{name}"] = value
            if name in self.best:
                tensors[f"best.{name}"] = self.best[name]
        record = {k: getattr(self, k) for k in _RECORDED}
        with writing_tensors(path), atomic_file(path) as temporary:
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, {"record": json.dumps(record)})

    def load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                stored = json.loads(file.metadata()["record"])
                record: dict[str, Any] = {key: stored[key] for key in _RECORDED}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ModelError(f"{path}: not a checkpoint ({error}); remove it to start again") from error
        if record["identity"] != self.identity:
            raise SamnerError(f"{path}: belongs to a run with other data or settings; remove it or use another folder")
        for key in _RECORDED:
            setattr(self, key, record[key])
        torch.set_rng_state(tensors["rng"])
        with torch.no_grad():
            for name in self.names:
                parameter = self.parameters[name]
                parameter.copy_(tensors[f"value.{name}"])
                if f"exp_avg.{name}" in tensors:
                    self.optimizer.state[parameter] = {
                        key: tensors[f"{key}.{name}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
                    }
                if f"best.{name}" in tensors:
                    self.best[name] = tensors[f"best.{name}"].to(parameter.device)


_RECORDED = ("identity", "step", "seconds", "stopped", "judged_at", "best_score", "best_step", "history")
