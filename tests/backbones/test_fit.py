from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from samner.backbones.fit import CHECKPOINT, Outcome, Schedule, fit
from samner.errors import ModelError, SamnerError


class Regression:
    """A small network with dropout learns a linear map; the batch is a function of the step."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.truth = torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
        self.interrupt_at: int | None = None
        self.steps: list[int] = []

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        return dict(self.net.named_parameters())

    def values(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    def loss_at(self, step: int) -> Tensor:
        if step == self.interrupt_at:
            raise KeyboardInterrupt
        self.steps.append(step)
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return (self.net(x) - x @ self.truth).square().mean()

    def score(self) -> float:
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(10_000))
        self.net.eval()
        try:
            with torch.no_grad():
                return -float((self.net(x) - x @ self.truth).square().mean())
        finally:
            self.net.train()


SCHEDULE = Schedule(steps=40, learning_rate=3e-2, checkpoint_minutes=0)


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls() -> None:
    task = Regression()
    before = task.score()
    outcome = fit(task.parameters, task.loss_at, dataclasses.replace(SCHEDULE, steps=150))
    assert task.score() > before / 4
    assert (outcome.steps, outcome.best_score, outcome.history, outcome.stopped_early) == (150, None, [], False)
    assert task.steps == list(range(150))


def test_a_run_is_a_function_of_its_seed() -> None:
    tasks = [Regression() for _ in range(3)]
    for task, seed in zip(tasks, (5, 5, 6), strict=True):
        fit(task.parameters, task.loss_at, dataclasses.replace(SCHEDULE, seed=seed))
    assert equal(tasks[0].values(), tasks[1].values())
    assert not equal(tasks[0].values(), tasks[2].values())


def test_the_rate_rises_falls_and_is_scaled_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    plain = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: (seen.append([g["lr"] for g in self.param_groups]), plain(self))[1]
    )
    task = Regression()
    schedule = Schedule(steps=20, learning_rate=0.1, warmup=0.25)
    fit(task.parameters, task.loss_at, schedule, rates={"0.weight": 0.5})
    rates = [group[1] for group in seen]
    expected = [0.1 * min(step / 5, (20 - step) / 15, 1) for step in range(20)]
    assert rates == pytest.approx(expected)
    assert [group[0] for group in seen] == pytest.approx([rate / 2 for rate in expected])


@pytest.mark.parametrize("evaluate_every", [0, 7])
@pytest.mark.parametrize("interruptions", [[1], [25], [6, 7, 8, 30]])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, interruptions: list[int], evaluate_every: int
) -> None:
    schedule = dataclasses.replace(SCHEDULE, evaluate_every=evaluate_every)

    def run(task: Regression, **options: Any) -> Outcome:
        score = task.score if evaluate_every else None
        return fit(task.parameters, task.loss_at, schedule, evaluate=score, identity="same", **options)

    whole = Regression()
    expected = run(whole)
    for step in interruptions:
        task = Regression()
        task.interrupt_at = step
        with pytest.raises(KeyboardInterrupt):
            run(task, run=tmp_path, resume=True)
    resumed = Regression()
    outcome = run(resumed, run=tmp_path, resume=True)
    assert resumed.steps == list(range(interruptions[-1], 40))
    assert equal(resumed.values(), whole.values())
    assert dataclasses.replace(outcome, seconds=0) == dataclasses.replace(expected, seconds=0)


def test_an_interruption_saves_what_was_done(tmp_path: Path) -> None:
    """Also in the middle of a step, after its random numbers were drawn: the step is done again, and equally."""
    whole = Regression()
    fit(whole.parameters, whole.loss_at, SCHEDULE)
    rarely = dataclasses.replace(SCHEDULE, checkpoint_minutes=60)
    task = Regression()

    def stopped_late(step: int) -> Tensor:
        loss = task.loss_at(step)
        if step == 13:
            raise KeyboardInterrupt
        return loss

    with pytest.raises(KeyboardInterrupt):
        fit(task.parameters, stopped_late, rarely, run=tmp_path)
    resumed = Regression()
    fit(resumed.parameters, resumed.loss_at, rarely, run=tmp_path, resume=True)
    assert resumed.steps == list(range(13, 40))
    assert equal(resumed.values(), whole.values())


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, second = Regression(), Regression()
    one = fit(first.parameters, first.loss_at, SCHEDULE, evaluate=first.score, run=tmp_path)
    other = fit(second.parameters, second.loss_at, SCHEDULE, evaluate=second.score, run=tmp_path, resume=True)
    assert second.steps == []
    assert equal(first.values(), second.values())
    assert other.history == one.history and other.best_score == one.best_score


def test_without_resume_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"garbage")
    task = Regression()
    assert fit(task.parameters, task.loss_at, SCHEDULE, run=tmp_path).steps == 40


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    task = Regression()
    fit(task.parameters, task.loss_at, SCHEDULE, run=tmp_path, identity="one")
    before = Regression()
    values = before.values()
    with pytest.raises(SamnerError, match="other data or settings"):
        fit(before.parameters, before.loss_at, SCHEDULE, run=tmp_path, resume=True, identity="other")
    assert equal(before.values(), values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage, and not a little of it"),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: save_file({"x": torch.zeros(2)}, path),
        lambda path: save_file({"x": torch.zeros(2)}, path, {"record": "{not json"}),
    ],
    ids=["empty", "garbage", "truncated", "foreign", "no record"],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    task = Regression()
    fit(task.parameters, task.loss_at, SCHEDULE, run=tmp_path)
    damage(tmp_path / CHECKPOINT)
    with pytest.raises(ModelError, match=r"not a checkpoint .* remove it to start again"):
        fit(task.parameters, task.loss_at, SCHEDULE, run=tmp_path, resume=True)


def test_early_stopping_leaves_the_best_parameters() -> None:
    task = Regression()
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    seen: list[dict[str, Tensor]] = []

    def evaluate() -> float:
        seen.append(task.values())
        return next(scores)

    schedule = dataclasses.replace(SCHEDULE, evaluate_every=5, patience=3)
    outcome = fit(task.parameters, task.loss_at, schedule, evaluate=evaluate)
    assert outcome.stopped_early
    assert (outcome.steps, outcome.best_step, outcome.best_score) == (25, 10, 0.5)
    assert [entry["score"] for entry in outcome.history] == [0.1, 0.5, 0.4, 0.5, 0.3]
    assert equal(task.values(), seen[1])
    assert not equal(task.values(), seen[-1])


def test_without_patience_the_run_goes_on_and_the_end_is_judged_too() -> None:
    task = Regression()
    scores = iter([0.5, 0.1, 0.2, 0.9])
    schedule = dataclasses.replace(SCHEDULE, steps=17, evaluate_every=5, patience=0)
    outcome = fit(task.parameters, task.loss_at, schedule, evaluate=lambda: next(scores))
    assert (outcome.steps, outcome.best_step, outcome.stopped_early) == (17, 17, False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, moved by hand."""
    now = [0.0]
    monkeypatch.setattr("samner.backbones.fit.time.monotonic", lambda: now[0])
    return now


def test_the_time_box_ends_the_run(clock: list[float]) -> None:
    task = Regression()

    def loss_at(step: int) -> Tensor:
        clock[0] += 6
        return task.loss_at(step)

    schedule = dataclasses.replace(SCHEDULE, max_minutes=1)
    outcome = fit(task.parameters, loss_at, schedule, evaluate=task.score)
    assert (outcome.steps, outcome.seconds, outcome.stopped_early) == (10, 60, False)
    assert outcome.best_step == 10  # what is left when time is up is judged


def test_time_used_before_an_interruption_counts(tmp_path: Path, clock: list[float]) -> None:
    schedule = dataclasses.replace(SCHEDULE, max_minutes=1)
    task = Regression()

    def loss_at(step: int) -> Tensor:
        loss = task.loss_at(step)
        clock[0] += 6
        return loss

    task.interrupt_at = 7
    with pytest.raises(KeyboardInterrupt):
        fit(task.parameters, loss_at, schedule, run=tmp_path)
    clock[0] += 1_000  # away
    task.interrupt_at = None
    outcome = fit(task.parameters, loss_at, schedule, run=tmp_path, resume=True)
    assert (outcome.steps, outcome.seconds) == (10, 60)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path, value: float) -> None:
    task = Regression()

    def loss_at(step: int) -> Tensor:
        return task.loss_at(step) * (value if step == 3 else 1)

    with pytest.raises(SamnerError, match=r"the loss is (nan|inf) at step 3: lower the learning rate"):
        fit(task.parameters, loss_at, SCHEDULE, run=tmp_path)


def test_a_checkpoint_is_one_file_without_pickle(tmp_path: Path) -> None:
    task = Regression()
    fit(task.parameters, task.loss_at, SCHEDULE, run=tmp_path / "new" / "run")
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == [CHECKPOINT]
