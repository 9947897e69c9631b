"""Run a benchmark: what ``samner benchmark benchmark.yaml`` does.

    samner benchmark docs/benchmark.yaml --data ../shared/data --out runs/benchmark

Three stages, each of which goes on where a stopped run was: select experts for every arm and target; let every model
that an arm needs read the test texts, once, merged once for all targets; score.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from samner.benchmark.config import Arm, Benchmark, read_benchmark
from samner.benchmark.models import Model, Models
from samner.benchmark.oracle import Oracle
from samner.benchmark.plans import Plan, Planner
from samner.benchmark.reader import Demands, Reader
from samner.benchmark.results import Found, TargetFound, to_dict
from samner.benchmark.scores import Scorer
from samner.cache import Store
from samner.errors import SamnerError
from samner.evaluation.common import chosen_targets, open_pool, pool_state, with_pool, writable
from samner.evaluation.target import TargetTexts, read_target
from samner.files import write_json
from samner.progress import StageProgress
from samner.selection import Selection

RESULTS = "results.json"

_Plans: TypeAlias = dict[str, dict[str, list[Plan]]]  # by target and arm, one for each seed


def run(
    config: Path,
    out: Path,
    *,
    data: Path | None = None,
    work: Path | None = None,
    only: Sequence[str] = (),
    groups: Sequence[str] = (),
    arms: Sequence[str] = (),
    pool: str | None = None,
    device: str = "cpu",
    command: str | None = None,
) -> dict[str, Any]:
    """Measure all arms on all targets, write `RESULTS` and the report into a folder, and return the results.

    Args:
        config: YAML file; see ``samner.benchmark.config``.
        out: Folder of the results.
        data: Folder that the targets' files are relative to; by default what the file says.
        work: Folder for what is kept between runs; by default ``.samner-benchmark`` beside ``out``.
        only: Names of targets, to measure these alone.
        groups: Names of groups of arms, to measure these alone.
        arms: Names of arms, to measure these alone; together with ``groups``, what either names.
        pool: Instead of the one that the file names: ``"builtin"``, a folder or a hub id.
        device: Torch device, or a server, for the base model.
        command: What the report calls the command that made it.

    Raises:
        SamnerError: If the configuration, a target's file, the pool or a folder is not as it has to be. All of that is
            checked before the first model reads.
    """
    benchmark = with_pool(_part(read_benchmark(config, data), groups, arms), pool)
    work = work or out.parent / ".samner-benchmark"
    for folder in (out, work):
        writable(folder)
    targets = {target.name: read_target(target) for target in chosen_targets(benchmark, only)}
    with StageProgress() as progress:
        found = _measure(benchmark, targets, work, device, progress)
        progress.stage("comparing", 1)
        results = to_dict(found, command or _command(config, out, data, only, groups, arms, pool))
    write_json(out / RESULTS, results)
    from samner.benchmark.report import write_report  # matplotlib takes a second

    write_report(results, out)
    return results


def _part(benchmark: Benchmark, groups: Sequence[str], arms: Sequence[str]) -> Benchmark:
    """The benchmark with the arms asked for, and the comparisons of these."""
    for what, asked, known in (
        ("group", groups, dict.fromkeys(arm.group for arm in benchmark.arms)),
        ("arm", arms, dict.fromkeys(arm.name for arm in benchmark.arms)),
    ):
        for name in asked:
            if name not in known:
                raise SamnerError(f"{benchmark.path}: has no {what} {name!r}; it has: {', '.join(known)}")
    if not groups and not arms:
        return benchmark
    chosen = tuple(arm for arm in benchmark.arms if arm.group in groups or arm.name in arms)
    names = {arm.name for arm in chosen}
    pairs = tuple(pair for pair in benchmark.comparisons if set(pair) <= names)
    return replace(benchmark, arms=chosen, comparisons=pairs)


def _measure(
    benchmark: Benchmark, targets: Mapping[str, TargetTexts], work: Path, device: str, progress: StageProgress
) -> Found:
    pool, benchmark = open_pool(benchmark, device)
    state = pool_state(pool, benchmark.baselines)
    store = Store(work, [state[0], state[-1]])  # a base and library versions; what else decides is in a model's key
    models = Models(pool, benchmark.baselines)
    reader = Reader(models, targets, store)
    planner = Planner(benchmark, pool, state, store)
    every = [expanded for arm in benchmark.arms for expanded in _expand(arm, planner.experts)]
    if twice := [arm.name for arm in every if [other.name for other in every].count(arm.name) > 1]:
        raise SamnerError(f"{benchmark.path}: an expert is named {twice[0]!r} as another arm is")

    oracle = Oracle(planner, every, benchmark.oracle_texts, benchmark.seed)
    _read(reader, oracle.demands(targets), "searching the best experts", progress)
    best = oracle.best(targets, reader)

    progress.stage("selecting", len(every) * len(targets))
    plain = Arm("union", "", "union", "", (benchmark.seed,), {})
    selections = {name: planner.selections(plain, target, benchmark.seed) for name, target in targets.items()}
    plans: _Plans = {name: {} for name in targets}
    for (name, target), arm in itertools.product(targets.items(), every):
        plans[name][arm.name] = [planner.plan(arm, target, seed, best) for seed in arm.seeds]
        progress.step(f"{name}, {arm.name}")

    _read(reader, _demands(plans), "reading", progress)

    progress.stage("scoring", len(targets))
    found = {}
    for name, target in targets.items():
        scorer = Scorer(target, reader, benchmark.seed)
        found[name] = _score(target, selections[name], plans[name], scorer)
        progress.step(name)
    return Found(benchmark, pool.backbone.threshold, every, found, oracle.found)


def _demands(plans: _Plans) -> dict[tuple[Model, str], int]:
    demands: dict[tuple[Model, str], int] = {}
    for name, arms in plans.items():
        for plan in itertools.chain.from_iterable(arms.values()):
            for model in plan.models.values():
                demands[model, name] = max(plan.texts, demands.get((model, name), 0))
    return demands


def _read(reader: Reader, demands: Demands, stage: str, progress: StageProgress) -> None:
    progress.stage(stage, reader.missing(demands))
    reader.read(demands, progress.step)


def _score(
    target: TargetTexts, selections: Mapping[str, Selection], plans: Mapping[str, list[Plan]], scorer: Scorer
) -> TargetFound:
    runs = iter(scorer.runs([plan for one in plans.values() for plan in one]))
    by_arm = {arm: [next(runs) for _ in one] for arm, one in plans.items()}
    both = scorer.complementarity(plans["union"][0]) if "union" in plans else None
    return TargetFound(target, selections, by_arm, both)


def _expand(arm: Arm, experts: Sequence[str]) -> list[Arm]:
    """An arm ``experts`` is one arm for each of them, which bears its name."""
    if arm.mode != "experts":
        return [arm]
    return [
        replace(arm, name=name, title=name, mode="expert", options={**arm.options, "name": name}) for name in experts
    ]


def _command(
    config: Path,
    out: Path,
    data: Path | None,
    only: Sequence[str],
    groups: Sequence[str],
    arms: Sequence[str],
    pool: str | None,
) -> str:
    parts = ["samner", "benchmark", str(config), "--out", str(out)]
    parts += ["--data", str(data)] if data else []
    for option, names in (
        ("--only", only),
        ("--groups", groups),
        ("--arms", arms),
        ("--pool", [pool] if pool else []),
    ):
        parts += [part for name in names for part in (option, name)]
    return shlex.join(parts)
