"""Measure adapting the built-in pool to 500 sentences, stage by stage, and write the table into docs/benchmarks.md.

python -m performance.adapt --before REVISION
python -m performance.adapt --pool smollm2 --sentences 24

From a fresh process to a saved model. Before and now take turns, three times each, and the medians are shown: of
seconds by the clock, and of processor time, which other programs disturb less. What was before is a commit; without
one, or of another pool or number of sentences, the table is only printed. The sentences are the 24 that ship with
samner over and over: how long it takes depends on their number and length, and no step keeps what it knows of a text.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from performance.merge.measure import ROOT, answer

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.adapt"
LABELS = ("person", "company", "city", "drug", "disease", "court", "government agency", "date")
POOL, SENTENCES, REPEATS = "builtin", 500, 3
SAVED = "save"
"""The stage after which there is a saved model."""
Stages = dict[str, tuple[float, float]]
"""Seconds by the clock, and of processor."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default=POOL, help="the pool to adapt")
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="how many sentences to adapt to and to ask")
    parser.add_argument("--before", metavar="REVISION", help="a commit that is measured beside what is here")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        stages, peak = measured(given.pool, given.sentences)
        print(json.dumps([stages, peak]))
        return
    from performance.merge.report import machine, megabytes, table
    from samner.benchmark.report.document import check_part, write_part
    from samner.cli.output import guarded

    writes = given.before is not None and (given.pool, given.sentences) == (POOL, SENTENCES)
    with guarded(), sources(given.before) as trees:
        if writes:
            check_part(PAGE, PART)
        runs: dict[str, list[tuple[Stages, int]]] = {name: [] for name in trees}
        for _ in range(given.repeats):
            for name, tree in trees.items():
                runs[name].append(child(tree, given.pool, given.sentences))
    header = ["stage", *(f"{what}, {name}" for name in runs for what in ("seconds", "of processor"))]
    columns = {name: medians([stages for stages, _ in its]) for name, its in runs.items()}
    rows = [
        [stage, *(f"{value:.2f}" for column in columns.values() for value in column[stage])]
        for stage in next(iter(columns.values()))
    ]
    peaks = ", ".join(f"{megabytes(max(peak for _, peak in its))} MB {name}" for name, its in runs.items())
    text = f"{machine()}\n\n{table(header, rows)}\n\nPeak RSS: {peaks}."
    print(text)
    if writes:
        write_part(PAGE, PART, text)


@contextmanager
def sources(before: str | None) -> Iterator[dict[str, Path]]:
    """The folders that hold ``src``, by what they are called in the table."""
    if before is None:
        yield {"now": ROOT}
        return
    with tempfile.TemporaryDirectory() as name:
        archive = subprocess.run(["git", "-C", ROOT, "archive", before, "src"], stdout=subprocess.PIPE, check=False)
        if archive.returncode:
            raise SystemExit(archive.returncode)  # git has said why
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(name, filter="data")
        yield {"before": Path(name), "now": ROOT}


def child(tree: Path, pool: str, sentences: int) -> tuple[Stages, int]:
    """What a process measures that finds samner in a folder."""
    command = [sys.executable, "-m", "performance.adapt", "--measure", "--pool", pool, "--sentences", str(sentences)]
    with tempfile.TemporaryDirectory() as home:
        environment = {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{ROOT}", "SAMNER_HOME": home}
        stages, peak = answer(command, environment)
    return {stage: tuple(took) for stage, took in stages.items()}, peak


def medians(runs: Sequence[Stages]) -> Stages:
    """Of each stage, with sums up to the saved model put after it."""
    found: Stages = {}
    for stage in runs[0]:
        clock, processor = (statistics.median(run[stage][i] for run in runs) for i in range(2))
        found[stage] = clock, processor
        if stage == SAVED:
            until = list(found)
            sums = [tuple(sum(run[one][i] for one in until) for i in range(2)) for run in runs]
            found["**to the saved model**"] = tuple(statistics.median(its[i] for its in sums) for i in range(2))
    return found


def measured(name: str, count: int) -> tuple[Stages, int]:
    """What each stage takes here and now, and the most memory that the process held, in bytes."""
    warnings.filterwarnings("ignore")
    stages: Stages = {}
    last = [psutil.Process().create_time(), 0.0]

    def done(stage: str) -> None:
        now = [time.time(), time.process_time()]
        stages[stage] = now[0] - last[0], now[1] - last[1]
        last[:] = now

    import torch  # noqa: F401

    done("start Python, import torch")
    from samner import ExpertPool, adapt
    from samner.embedding import embed_domain, sentence_encoder

    done("import samner")
    sentence_encoder(fast=True)
    done("load the sentence encoder, import what it needs")
    pool = ExpertPool.load(name)
    texts = list(itertools.islice(itertools.cycle(sample()), count))
    pool.backbone  # noqa: B018 - loads it
    done("load the base")
    embed_domain(texts)
    done("embed the texts")
    steps: list[str] = []

    def step(text: str) -> None:
        if steps:
            done(steps[-1])
        steps.append({"selecting experts": "select experts"}.get(text, text.replace("merging", "merge")))

    model = adapt(pool, texts, LABELS, on_step=step)
    done(steps[-1])
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        done(SAVED)
    model.predict(texts)
    done(f"predict on the same {count}")
    return stages, peak()


def peak() -> int:
    """The most memory that this process held, in bytes; unlike in ``ru_maxrss``, its parent's is not in it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def sample() -> list[str]:
    """The texts that ship with samner."""
    from importlib.resources import files

    lines = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line]


if __name__ == "__main__":
    main()
