"""Run an evaluation: what ``samner evaluate targets.yaml`` does.

    samner evaluate docs/targets.yaml --data ../shared/data --out evaluation.md

Every target's result is kept in a work folder as soon as it is there. A run that finds one there with the same
digest (of settings, pool, experts, texts and library versions) takes it as it is, so that a run which was stopped goes
on where it was, and one whose settings changed measures anew.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from samner.errors import SamnerError
from samner.evaluation.common import chosen_targets, open_pool, pool_state, with_pool, writable
from samner.evaluation.config import Config, read_config
from samner.evaluation.measure import Bench
from samner.evaluation.results import Results, TargetResult, target_result
from samner.evaluation.section import check_section, write_section
from samner.evaluation.tables import markdown
from samner.evaluation.target import TargetTexts, read_target
from samner.files import read_json, write_json
from samner.pool import ExpertPool
from samner.progress import EvaluationProgress

_MAKER = "samner evaluate"
_REVISION = 2
"""Raise it when the harness measures something else than before, so that kept results are not taken for new ones."""


def run(
    config: Path,
    *,
    data: Path | None = None,
    out: Path | None = None,
    json_out: Path | None = None,
    work: Path | None = None,
    only: Sequence[str] = (),
    pool: str | None = None,
    device: str = "cpu",
    command: str | None = None,
) -> Results:
    """Measure every arm on every target of a configuration.

    Args:
        config: YAML file; see ``samner.evaluation.config``.
        data: Folder that the targets' files are relative to; by default what the file says.
        out: Markdown file for the tables. In one that exists they replace what is between the markers of
            ``samner.evaluation.section``.
        json_out: File for all raw results.
        work: Folder where results are kept between runs; none are kept by default.
        only: Names of targets, to measure and report these alone.
        pool: Instead of the one that the file names: ``"builtin"``, a folder or a hub id.
        device: Torch device, or a server, for the base model.
        command: What the tables call the command that made them.

    Raises:
        SamnerError: If the configuration, a target's file, the pool or ``out`` is not as it has to be. All of that is
            checked before the first target is measured.
    """
    settings = with_pool(read_config(config, data), pool)
    chosen = chosen_targets(settings, only)
    for folder in (out and out.parent, json_out and json_out.parent, work):
        if folder:
            writable(folder)
    if out:
        check_section(out, _MAKER)
    targets = [read_target(target) for target in chosen]
    opened, settings = open_pool(settings, device)
    with EvaluationProgress() as progress:
        measured = _measure_all(settings, opened, targets, work, progress)
    names = [target.name for target in measured]
    averages = {"all": tuple(names)} | {
        t: members for t, members in settings.averages.items() if {*members} <= {*names}
    }
    results = Results(
        command=command or _command(config, data, only, pool),
        pool=settings.pool,
        settings=settings.settings(),
        averages=averages,
        targets=measured,
    )
    if json_out:
        write_json(json_out, results.to_dict())
    if out:
        write_section(out, _MAKER, markdown(results))
    return results


def _measure_all(
    config: Config, pool: ExpertPool, targets: Sequence[TargetTexts], work: Path | None, progress: EvaluationProgress
) -> list[TargetResult]:
    common = [_REVISION, config.settings(), pool_state(pool, config.baselines)]
    bench: Bench | None = None  # loading the experts takes seconds, for nothing if every result is there
    results = []
    for target in targets:
        digest = hashlib.sha256(json.dumps([common, target.checksum], sort_keys=True).encode()).hexdigest()
        kept = work / f"{target.name}.json" if work else None
        known = _kept(kept, digest) if kept else None
        if known is None:
            bench = bench or Bench(pool, config)
            progress.start(target.name, len(target.test))
            known = target_result(target, digest, bench.measure(target, progress.read), bench.load_seconds)
            if kept:
                write_json(kept, asdict(known))
            progress.say(f"{target.name}: {_summary(known)}")
        else:
            progress.say(f"{target.name}: {_summary(known)} (kept from {known.finished})")
        results.append(known)
    return results


def _kept(path: Path, digest: str) -> TargetResult | None:
    """The result in a work file, unless it was measured otherwise or the file is damaged."""
    try:
        result = TargetResult(**read_json(path))
    except (SamnerError, TypeError):
        return None
    return result if result.digest == digest else None


def _summary(result: TargetResult) -> str:
    best = max(result.reports, key=lambda arm: result.f1(arm, "strict"))
    union = f"union {100 * result.f1('union', 'strict'):.1f}, " if "union" in result.reports else ""
    return f"strict F1 {union}best {best} {100 * result.f1(best, 'strict'):.1f}"


def _command(config: Path, data: Path | None, only: Sequence[str], pool: str | None) -> str:
    parts = ["samner", "evaluate", str(config), *(["--data", str(data)] if data else [])]
    parts += ["--pool", pool] if pool else []
    return shlex.join(parts + [part for name in only for part in ("--only", name)])
