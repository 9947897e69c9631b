from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from samner.backbones import TrainingData
from samner.backbones.language_model.generation.prompt import load_prompt
from samner.backbones.language_model.loading import linear_layers
from samner.backbones.language_model.training import checkpoints as runs
from samner.backbones.language_model.training.examples import Recipe
from samner.backbones.language_model.training.trainer import Outcome, train_adapter
from samner.errors import ModelError, SamnerError
from samner.lora import LoraAdapter
from tests.backbones.language_model.tiny_llama import data, geography, tiny_llama, tiny_tokenizer

FAST = {"steps": 4, "learning_rate": 1e-2, "rank": 2, "batch": 4, "micro_batch": 2, "evaluations": 2}
JUDGED = TrainingData([geography()], [geography(4)], ["gemstone"])

Train = Callable[..., Outcome]


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_llama()


@pytest.fixture(scope="module")
def train(llama: Any) -> Train:
    tokenizer, prompt = tiny_tokenizer(), load_prompt("json-by-type")

    def train(
        out: Path, what: TrainingData = JUDGED, *, run: Path | None = None, resume: bool = False, **options: Any
    ) -> Outcome:
        recipe = Recipe(**{**FAST, **options})
        return train_adapter(llama, tokenizer, prompt, what, recipe, out, run=run, resume=resume)

    return train


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


class TestTrainAdapter:
    def test_an_adapter_on_all_linear_layers_and_nothing_else(self, train: Train, llama: Any, tmp_path: Path):
        outcome = train(tmp_path / "a")
        assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        adapter = LoraAdapter.load(tmp_path / "a")
        assert str(tmp_path) not in (tmp_path / "a" / "adapter_config.json").read_text()
        assert set(adapter.modules) == set(linear_layers(llama))
        # q and o: 32+32, k and v: 32+16, gate, up and down: 32+48, each times rank 2, in 2 layers
        assert outcome.parameters == 2 * 2 * (2 * 64 + 2 * 48 + 3 * 80)
        assert outcome.estimate == 18 * 32 * 2 * 2
        assert (outcome.steps, outcome.examples, outcome.best_score) == (4, 16, None)
        assert [entry["step"] for entry in outcome.history] == [2, 4]
        assert outcome.best_loss == pytest.approx(min(entry["loss"] for entry in outcome.history), abs=1e-4)

    @pytest.mark.slow
    @pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}, {"packing": "on"}])
    def test_the_model_is_as_it_was_before(self, train: Train, llama: Any, tmp_path: Path, options: dict[str, Any]):
        before = {name: value.clone() for name, value in llama.state_dict().items()}
        attributes, settings = dict(vars(llama)), llama.config.to_dict()
        train(tmp_path / "a", **options)
        assert dict(vars(llama)) == attributes and llama.config.to_dict() == settings
        assert llama.state_dict().keys() == before.keys()
        assert all(torch.equal(value, before[name]) for name, value in llama.state_dict().items())
        assert not llama.training and not any(p.requires_grad for p in llama.parameters())

    @pytest.mark.slow
    def test_the_seed_decides(self, train: Train, tmp_path: Path):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            train(tmp_path / name, data(), seed=seed, steps=2)
        assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")

    @pytest.mark.slow
    def test_f1_can_be_what_counts_and_stops_early(self, train: Train, tmp_path: Path):
        outcome = train(tmp_path / "a", metric="f1", dev_texts=1, steps=6, evaluations=6, patience=2)
        assert outcome.best_score == 0 and outcome.best_loss is None
        assert outcome.stopped_early and outcome.steps == 3
        assert outcome.history == [{"step": step, "f1": 0} for step in (1, 2, 3)]

    @pytest.mark.slow
    def test_without_a_dev_split_nothing_is_judged(self, train: Train, tmp_path: Path):
        outcome = train(tmp_path / "a", data(), steps=2)
        assert (outcome.history, outcome.best_loss, outcome.best_step) == ([], None, 2)

    @pytest.mark.slow
    def test_the_time_box_ends_it(self, train: Train, tmp_path: Path):
        outcome = train(tmp_path / "a", max_minutes=1e-6)
        assert outcome.steps == 1 and not outcome.stopped_early
        assert len(outcome.history) == 1

    @pytest.mark.slow
    def test_in_bfloat16_the_model_is_as_it_was_and_the_adapter_in_full(
        self, train: Train, llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("SAMNER_PRECISION", "bfloat16")
        before = {name: value.clone() for name, value in llama.state_dict().items()}
        outcome = train(tmp_path / "a", metric="f1", dev_texts=1, packing="on")
        assert len(outcome.history) == 2
        assert all(torch.equal(value, before[name]) for name, value in llama.state_dict().items())
        adapter = load_file(tmp_path / "a" / "adapter_model.safetensors")
        assert {value.dtype for value in adapter.values()} == {torch.float32}

    def test_a_loss_that_is_not_finite_is_an_error_and_the_model_stays(self, train: Train, llama: Any, tmp_path: Path):
        with pytest.raises(SamnerError, match="the loss is .* lower the learning rate"):
            train(tmp_path / "a", data(), learning_rate=1e30, steps=20, batch=2)
        assert not any("lora" in name for name in llama.state_dict())
        assert not (tmp_path / "a").exists()


class TestClock:
    """On steps of a second each, by a clock that is turned by hand."""

    @pytest.fixture
    def steps(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
        """Which steps a run of ten is judged at, each judgement taking so many seconds, and the last one taken."""
        now = [0.0]
        monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])

        def steps(judging: float, **options: Any) -> list[int]:
            clock = runs.Clock(Recipe(**options), runs.Record(tmp_path, "of this", resume=False))
            args = SimpleNamespace(eval_strategy="steps", device="cpu")
            state = SimpleNamespace(global_step=0, max_steps=10)
            judged, metrics = [], {}
            clock.on_train_begin(args, state, None)
            with clock.running():
                for state.global_step in range(1, 11):
                    now[0] += 1
                    control = SimpleNamespace(should_training_stop=False, should_save=False, should_evaluate=False)
                    clock.on_step_end(args, state, control)
                    if control.should_evaluate:
                        assert control.should_save
                        now[0] += judging
                        clock.on_evaluate(args, state, control, metrics)
                        judged.append(state.global_step)
                    if control.should_training_stop:
                        break
            return [*judged, state.global_step]

        return steps

    def test_evaluations_are_spread_over_the_steps(self, steps: Callable[..., list[int]]):
        assert steps(0, evaluations=3) == [4, 7, 10, 10]

    def test_or_over_the_time_which_holds_the_last_one(self, steps: Callable[..., list[int]]):
        assert steps(0, evaluations=2, max_minutes=0.1) == [3, 6, 6]
        assert steps(2, evaluations=2, max_minutes=0.1) == [3, 4, 4]  # eight seconds: more than six by a second step


class TestResume:
    @pytest.fixture
    def interrupted(self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A run that ended in its third step by Ctrl-C."""
        step_end = runs.Clock.on_step_end
        handler = signal.getsignal(signal.SIGINT)  # a run in the background ignores it

        def interrupt(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == 3:
                os.kill(os.getpid(), signal.SIGINT)
            step_end(self, args, state, control, **rest)

        monkeypatch.setattr(runs.Clock, "on_step_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "a", run=tmp_path / "run")
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGINT) is handler
        assert not (tmp_path / "a").exists()
        return tmp_path / "run"

    @pytest.mark.slow
    def test_a_resumed_run_gives_what_an_uninterrupted_one_gives(
        self, train: Train, interrupted: Path, tmp_path: Path
    ):
        assert json.loads((interrupted / "run.json").read_text())["checkpoint"] == "checkpoint-3"
        resumed = train(tmp_path / "a", run=interrupted, resume=True)
        whole = train(tmp_path / "b")
        assert weights(tmp_path / "a") == weights(tmp_path / "b")
        assert resumed.history == whole.history and resumed.steps == whole.steps == 4

    @pytest.mark.slow
    def test_a_finished_run_is_not_trained_again(self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        outcome = train(tmp_path / "a", run=tmp_path / "run", steps=2)
        monkeypatch.setattr("trl.SFTTrainer.train", None)
        assert train(tmp_path / "b", run=tmp_path / "run", resume=True, steps=2) == outcome
        assert weights(tmp_path / "a") == weights(tmp_path / "b")

    @pytest.mark.slow
    def test_other_settings_are_refused(self, train: Train, interrupted: Path, tmp_path: Path):
        with pytest.raises(SamnerError, match="run.json: belongs to a run with other data or settings"):
            train(tmp_path / "a", run=interrupted, resume=True, seed=5)

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"format": 2}, "format: this samner reads format 1, not 2"),
            ({"seconds": "long"}, "seconds: "),
            (None, "not"),
        ],
    )
    def test_a_record_that_is_none_is_told(self, tmp_path: Path, changed: dict[str, Any] | None, told: str):
        runs.Record(tmp_path, "of this", resume=False).save("checkpoint-1", 2.5)
        assert runs.Record(tmp_path, "of this", resume=True).seconds == 2.5
        path = tmp_path / "run.json"
        path.write_text("[" if changed is None else json.dumps({**json.loads(path.read_text()), **changed}))
        with pytest.raises(SamnerError, match=f"run.json: {told}.*; remove .* to start again"):
            runs.Record(tmp_path, "of this", resume=True)

    def test_code_in_a_checkpoint_is_not_run(self, train: Train, interrupted: Path, tmp_path: Path):
        class Harm:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "harm",)

        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (interrupted / "checkpoint-3" / name).write_bytes(pickle.dumps(Harm()))
        with pytest.raises(ModelError, match=r"checkpoint-3: cannot be read .*; remove .*run to start again"):
            train(tmp_path / "a", run=interrupted, resume=True)
        assert not (tmp_path / "harm").exists()

    @pytest.mark.slow
    def test_a_damaged_checkpoint_is_told(self, train: Train, interrupted: Path, tmp_path: Path):
        path = interrupted / "checkpoint-3" / "optimizer.pt"
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(ModelError, match="checkpoint-3: cannot be read"):
            train(tmp_path / "a", run=interrupted, resume=True)

    @pytest.mark.slow
    @pytest.mark.parametrize("wrong", ["../other", "checkpoint-9"])
    def test_a_checkpoint_elsewhere_or_without_safetensors_is_refused(
        self, train: Train, interrupted: Path, tmp_path: Path, wrong: str
    ):
        record = json.loads((interrupted / "run.json").read_text())
        (interrupted / "run.json").write_text(json.dumps({**record, "checkpoint": wrong}))
        with pytest.raises(SamnerError, match="leads outside|holds no adapter_model.safetensors"):
            train(tmp_path / "a", run=interrupted, resume=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [{}, {"packing": "on", "max_length": 1500}])
def test_training_lowers_the_loss(train: Train, tmp_path: Path, options: dict[str, Any]):
    settings = {"steps": 60, "rank": 16, "batch": 8, "micro_batch": 8, "evaluations": 6, "patience": 0}
    losses = [entry["loss"] for entry in train(tmp_path / "a", **settings, **options).history]
    assert losses[-1] < 0.7 * losses[0]
