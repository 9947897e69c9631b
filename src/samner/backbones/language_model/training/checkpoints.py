"""A training run as it lies on disk, its clock, and how it is interrupted.

Checkpoints are transformers' own: the adapter in safetensors, the trainer's state in JSON, and the states of
optimiser, schedule and random generators as files of PyTorch. The latter are read only on resuming, by transformers
with ``weights_only=True``: that makes tensors and plain values and runs no code. ``training_args.bin`` is never read.
None of it leaves the run folder: an expert holds safetensors and JSON.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from samner.backbones.fit import share_of_peak
from samner.backbones.language_model.training.examples import Recipe
from samner.errors import ModelError, SamnerError
from samner.files import inside, read_json, write_json
from samner.lora import WEIGHTS_FILE
from samner.settings import Format, Settings, validated

log = logging.getLogger(__name__)

RECORD = "run.json"
_CHECKPOINT_SECONDS = 600.0


class _Stored(Settings):
    """``run.json``."""

    format: Format
    identity: str
    checkpoint: str | None
    seconds: float
    outcome: dict[str, Any] | None


class Record:
    """``run.json``: what the run is of, its last whole checkpoint, the seconds used, and in the end its outcome.

    Args:
        folder: Of the run.
        identity: Of the run.
        resume: Whether to read what is there.

    Raises:
        SamnerError: If what is there is of another run.
        ModelError: If it cannot be read.
    """

    def __init__(self, folder: Path, identity: str, *, resume: bool) -> None:
        self.folder = folder
        self._stored = _Stored(format=1, identity=identity, checkpoint=None, seconds=0.0, outcome=None)
        path = folder / RECORD
        if not (resume and path.is_file()):
            return
        try:
            stored = validated(_Stored, read_json(path), str(path))
        except SamnerError as error:
            raise ModelError(f"{error}; remove {folder} to start again") from error
        if stored.identity != identity:
            raise SamnerError(f"{path}: belongs to a run with other data or settings; remove it or use another folder")
        self._stored = stored

    @property
    def seconds(self) -> float:
        """Used up to the last checkpoint."""
        return self._stored.seconds

    @property
    def outcome(self) -> dict[str, Any] | None:
        """Of the run, once it is finished."""
        return self._stored.outcome

    def checkpoint(self) -> str | None:
        """The folder to resume from.

        Raises:
            ModelError: If it is not there, or its adapter is not in safetensors.
        """
        if self._stored.checkpoint is None:
            return None
        folder = inside(self.folder, self._stored.checkpoint)
        if not (folder / WEIGHTS_FILE).is_file():
            raise ModelError(f"{folder}: holds no {WEIGHTS_FILE}; remove {self.folder} to start again")
        return str(folder)

    def save(self, checkpoint: str, seconds: float) -> None:
        """Note a checkpoint, once it is whole."""
        self._write(checkpoint=checkpoint, seconds=seconds)

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Note the outcome: the adapter is in the folder now."""
        self._write(outcome=dict(outcome))

    def _write(self, **changed: Any) -> None:
        self._stored = self._stored.model_copy(update=changed)
        if _first():
            write_json(self.folder / RECORD, self._stored.model_dump(mode="json"))


class Clock(TrainerCallback):  # type: ignore[misc]
    """Says when a run is judged and when it ends: its time is up, an interrupt came, or the loss is not finite.

    Evaluations are spread evenly over the steps, or over the time if that is ahead, and the last one is at the end.
    The time box holds it, too, if there was one before to tell how long it takes. Several processes decide together:
    all go by the longest time and by the first interrupt.

    Attributes:
        seconds: Used so far, over all parts of the run.
        over: Whether the time box ended it.
        judge: Gives a dev F1, for evaluations to count; none if the loss is what counts.
    """

    def __init__(self, recipe: Recipe, record: Record) -> None:
        self.seconds = record.seconds
        self.over = False
        self.judge: Callable[[], float] | None = None
        self._recipe = recipe
        self._record = record
        self._interrupted = False
        self._before = self._saved = record.seconds
        self._started = self._stepped = time.monotonic()
        self._evaluation = 0.0  # seconds that one takes
        self._share = 0.0  # of the run that is done

    def say(self, message: str) -> None:
        """Log a line, once for all processes."""
        if _first():
            log.info("%s", message)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate's share of its peak: it rises, then falls, by steps or by time if that is ahead."""
        return share_of_peak(max((step + 1) / (steps + 1), self._time()), self._recipe.warmup)

    def _time(self) -> float:
        """The share of the time box that is used."""
        if self._recipe.max_minutes is None:
            return 0.0
        return min(1.0, (self.seconds + self._evaluation) / (60 * self._recipe.max_minutes))

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts, Ctrl-C ends the run after the step it is in, with a checkpoint; twice ends it at once.

        Raises:
            KeyboardInterrupt: In the end, if there was one.
        """

        def interrupt(number: int, frame: FrameType | None) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        self._started = time.monotonic()
        ours = threading.current_thread() is threading.main_thread()
        previous = signal.signal(signal.SIGINT, interrupt) if ours else None
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGINT, previous)
        if self._interrupted:
            raise KeyboardInterrupt

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._share = max(state.global_step / state.max_steps, self._time())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stepped = time.monotonic()
        seconds = self._before + self._stepped - self._started
        told = _longest([seconds, self._evaluation, float(self._interrupted)], args.device)
        self.seconds, self._evaluation, self._interrupted = told[0], told[1], bool(told[2])
        self.over = self._time() >= 1
        before, self._share = self._share, max(state.global_step / state.max_steps, self._time())
        due = [int(share * self._recipe.evaluations + 1e-9) for share in (before, self._share)]
        control.should_evaluate = due[0] < due[1] and not self._interrupted and args.eval_strategy != "no"
        if self._interrupted or self.over:
            control.should_training_stop = True
        if (
            control.should_training_stop
            or control.should_evaluate
            or self.seconds - self._saved >= _CHECKPOINT_SECONDS
        ):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = self.seconds
        self._record.save(f"checkpoint-{state.global_step}", self.seconds)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        logs = logs or {}
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise SamnerError(f"the loss is {logs['loss']} at step {state.global_step}: lower the learning rate")
            self.say(f"step {state.global_step} of {state.max_steps}: loss {logs['loss']:.4f}")
        if "eval_loss" in logs:
            self.say(f"step {state.global_step}: dev loss {logs['eval_loss']:.4f}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        if self.judge is not None:  # early stopping, which comes after this, and the trainer see what is added
            metrics["eval_f1"] = self.judge()
            state.log_history.append({"step": state.global_step, "eval_f1": metrics["eval_f1"]})
            self.say(f"step {state.global_step}: dev F1 {metrics['eval_f1']:.4f}")
        self._evaluation = max(self._evaluation, time.monotonic() - self._stepped)


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _longest(values: list[float], device: torch.device) -> list[float]:
    """The largest of each value over all processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    shared = torch.tensor(values, device=device, dtype=torch.float64)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    result: list[float] = shared.tolist()
    return result
