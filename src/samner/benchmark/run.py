"""Run a benchmark: what ``samner benchmark benchmark.yaml`` does.

    samner benchmark benchmark.yaml --out runs/benchmark

Three stages, each of which goes on where a stopped run was: select experts for every arm and target; let every model
that an arm needs read the test texts, once, merged once for all targets; score.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from itertools import chain, product
from pathlib import Path
from typing import Any

from samner.benchmark.answers import Demands, Model, Reader, TargetTexts, read_target
from samner.benchmark.arms import Plan, Planner, expanded
from samner.benchmark.config import Arm, Benchmark
from samner.benchmark.results import Scorer, TargetFound, to_dict
from samner.cache import Cache
from samner.errors import SamnerError
from samner.files import write_json
from samner.pool import ExpertPool
from samner.progress import Progress

log = logging.getLogger(__name__)

RESULTS = "results.json"
KEPT = "benchmark.sqlite"
"""What is kept between runs, in the work folder."""


def run(
    benchmark: Benchmark,
    out: Path,
    *,
    work: Path | None = None,
    into: Path | None = None,
    device: str = "auto",
    command: str = "samner benchmark",
) -> dict[str, dict[str, Any]]:
    """Measure all arms on all targets with every pool, and write `RESULTS` and the report into a folder.

    Args:
        benchmark: What to measure.
        out: Folder of the results; with several pools it has one below it for each, named as the pool.
        work: Folder for what is kept between runs; by default ``.samner-benchmark`` beside ``out``.
        into: Markdown file whose part between markers gets the main tables; see ``samner.benchmark.report.document``.
        device: Torch device, or a server, for the base model.
        command: What the report calls the command that made it.

    Returns:
        The results of each pool by its title, as in `RESULTS`.

    Raises:
        SamnerError: If a target's file, a pool or a folder is not as it has to be. All of that is checked before the
            first model reads.
    """
    from samner.benchmark import report  # Jinja and matplotlib are an extra

    work = work or out.parent / ".samner-benchmark"
    for folder in (out, work):
        _writable(folder)
    if into:
        report.check_section(into)
    targets = {name: read_target(name, target) for name, target in benchmark.targets.items()}
    cache, results = Cache(work / KEPT), {}
    for title, reference in benchmark.pools.items():
        results[title] = _measure(benchmark, reference, targets, cache, device, command)
        folder = out if len(benchmark.pools) == 1 else out / title
        if (folder / RESULTS).exists():
            log.warning("%s of an earlier run is replaced", folder / RESULTS)
        write_json(folder / RESULTS, results[title])
        report.write_report(results[title], folder)
    if len(results) > 1:
        report.write_comparison(results, out)
    if into:
        report.write_section(into, results)
    return results


def _measure(
    benchmark: Benchmark,
    reference: str,
    targets: Mapping[str, TargetTexts],
    cache: Cache,
    device: str,
    command: str,
) -> dict[str, Any]:
    try:
        pool = ExpertPool.load(reference, device)
        arms = expanded(benchmark.arms, list(pool.experts))
    except SamnerError as error:
        raise SamnerError(f"{benchmark.path}: pool: {error}") from error
    settings = benchmark.settings
    baselines = {str(arm.options["name"]) for arm in arms if arm.mode == "baseline"}
    reader = Reader(pool, sorted(baselines), targets, cache)
    planner = Planner(benchmark, pool, reader)
    with Progress(lines=True) as show:
        _read(reader, planner.to_search(arms, targets), "searching the best experts", show)
        planner.search(arms, targets)

        advance = show.counter("selecting", len(arms) * len(targets))
        usual = Arm("union", "", "union", "", (settings.seed,), {})
        selected = {name: planner.selected(usual, target, settings.seed) for name, target in targets.items()}
        plans: dict[str, dict[str, list[Plan]]] = {name: {} for name in targets}
        for (name, target), arm in product(targets.items(), arms):
            plans[name][arm.name] = [planner.plan(arm, target, seed) for seed in arm.seeds]
            advance(1, f"{name}, {arm.name}")

        demands: dict[tuple[Model, str], int] = {}
        for name in targets:
            for plan in chain.from_iterable(plans[name].values()):
                for model in plan.models.values():
                    demands[model, name] = max(plan.texts, demands.get((model, name), 0))
        _read(reader, demands, "reading", show)

        advance, found = show.counter("scoring", len(targets)), {}
        for name, target in targets.items():
            scorer = Scorer(target, reader, settings.seed)
            runs = iter(scorer.runs([*chain.from_iterable(plans[name].values())]))
            by_arm = {arm: [next(runs) for _ in one] for arm, one in plans[name].items()}
            both = scorer.complementarity(plans[name]["union"][0]) if "union" in by_arm else None
            found[name] = TargetFound(target, selected[name], by_arm, both)
            advance(1, name)
    return to_dict(benchmark, pool, reference, arms, found, planner.subsets, command)


def _read(reader: Reader, demands: Demands, stage: str, show: Progress) -> None:
    if missing := reader.missing(demands):
        reader.read(demands, show.counter(stage, missing))


def _writable(folder: Path) -> None:
    """Make a folder that files can be written to: better known before hours of work than after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SamnerError(f"{folder}: cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise SamnerError(f"{folder}: may not be written to")
