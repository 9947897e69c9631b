"""Measure what it saves to ask several models of a language-model pool in one call; write docs/benchmarks.md.

python -m performance.llm
python -m performance.llm --pool POOL --labels person,city --texts texts.txt

Union: two task models, each the merge of some of the pool's experts, on one text at a time and on all. Sampling: all
experts (six, of a pool that has more) on some of the texts. Each is measured in one call for all models and in one a
model, and the answers must be the same. Of another pool the table is only printed.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from performance.merge.measure import ROOT
from performance.merge.report import machine, seconds, table
from samner import ExpertPool
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded
from samner.data import read_texts
from samner.entities import Entity, EntityType
from samner.merging import merge
from samner.precision import precision

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.llm"
POOL = "smollm2-generation"
LABELS = "person,organization,city,drug,disease,date"
EXPERTS, SAMPLES = 6, 4
Answers = dict[str, list[list[Entity]]]


@guarded()
def main(arguments: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default=POOL, help="a pool over a causal language model")
    parser.add_argument("--labels", default=LABELS, help="entity types, parted by commas")
    parser.add_argument("--texts", type=Path, help="texts to read; the sample that ships with samner if not given")
    parser.add_argument("--count", type=int, default=8, help="how many texts")
    parser.add_argument("--repeats", type=int, default=2, help="the fastest of so many runs counts")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    if given.pool == POOL:
        check_part(PAGE, PART)
    warnings.filterwarnings("ignore")
    pool = ExpertPool.load(given.pool, given.device)
    text = measure(pool, _texts(given.texts, given.count), given.labels.split(","), given.repeats)
    print(text)
    if given.pool == POOL:
        write_part(PAGE, PART, text)
    return text


def measure(pool: ExpertPool, texts: list[str], labels: Sequence[str], repeats: int) -> str:
    """The table, once one call and one a model were found to give the same answers."""
    backbone = pool.backbone
    types = [EntityType(label) for label in labels]
    experts = list(pool.experts)[:EXPERTS]
    pool.load_experts(experts)
    tasks = {"half": experts[: len(experts) // 2 + 1], "other half": experts[len(experts) // 2 :]}
    for name, names in tasks.items():
        backbone.add_task_model(name, merge([pool.adapter(expert) for expert in names]))

    def timed(models: Sequence[str], read: list[str], batch: int) -> tuple[float, Answers]:
        def run() -> Answers:
            parts = [backbone.predict(read[i : i + batch], types, models, 1e-9) for i in range(0, len(read), batch)]
            return {model: [found for part in parts for found in part[model]] for model in models}

        return _fastest(run, repeats)

    rows, notes = [], []
    union, some = "union: two task models", texts[:SAMPLES]
    cases = [
        (union, list(tasks), some, 1),
        (union, list(tasks), texts, len(texts)),
        (f"sampling: {len(experts)} experts", experts, some, len(some)),
    ]
    for what, models, read, batch in cases:
        together, answers = timed(models, read, batch)
        passes = [timed([model], read, batch) for model in models]
        apart = {model: found[model] for model, (_, found) in zip(models, passes, strict=True)}
        differing = check_same(answers, apart)
        one, total = max(took for took, _ in passes), sum(took for took, _ in passes)
        times = [seconds(value) for value in (together, total, one)]
        rows.append([what, str(len(read)), str(batch), *times, f"{total / together:.2f}", f"{together / one:.2f}"])
        found = sum(len(entities) for answer in answers.values() for entities in answer)
        notes.append(f"{differing} of {len(models) * len(read)} by {what.partition(':')[0]} ({found:,} entities)")
    header = ("", "texts", "batch", "one call", "a call each", "one model", "calls / one", "one call / one model")
    return f"{machine()} Computed in {precision()}; answers that differ: {', '.join(notes)}.\n\n{table(header, rows)}"


def check_same(answers: Answers, others: Answers) -> int:
    """On how many texts a model found other entities, or was otherwise sure of them, than the other way.

    Raises:
        SystemExit: If there is one in float32; where two tokens are almost as likely, bfloat16 may choose the other.
    """
    exact, differing = precision() == "float32", 0
    for model, texts in answers.items():
        for i, (found, other) in enumerate(zip(texts, others[model], strict=True)):
            mine, theirs = ({e.key: e.score for e in entities} for entities in (found, other))
            rounding = 1e-3 if exact else 0.1
            if mine.keys() == theirs.keys() and all(abs(mine[key] - theirs[key]) <= rounding for key in mine):
                continue
            if exact:
                raise SystemExit(f"{model} answers text {i} differently when asked with others: {mine} and {theirs}")
            differing += 1
    return differing


def _fastest(run: Callable[[], Answers], repeats: int) -> tuple[float, Answers]:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        answers = run()
        best = min(best, time.perf_counter() - start)
    return best, answers


def _texts(file: Path | None, count: int) -> list[str]:
    lines = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    texts = [text for text in (read_texts(file) if file else lines) if text.strip()]
    return (texts * (-(-count // len(texts))))[:count]


if __name__ == "__main__":
    main(sys.argv[1:])
