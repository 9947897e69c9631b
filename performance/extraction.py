"""Measure extraction by one and two task models, beside GLiNER, and of long texts; write docs/benchmarks.md.

python -m performance.extraction [PART ...]

models: two task models (the union) over one, in turn, in one process.
smollm2: the same over the pool smollm2, asked for six types in the 24 texts of the demo.
peers: texts a second for 5, 50 and 500 types, one thread each, beside GLiNER over encoders with random weights (its
speed does not depend on them): that of gliner_small-v2.1, and one of the shape of the built-in pool's. Each runs in a
process of its own, in turn, and the best of two rounds counts. The names of types are embedded before, by samner once,
by GLiNER with every text. GLiNER reads eight texts at once; of 500 types one by one, which is faster. It runs in
performance/.venv-gliner, which `make bench-all` makes.
length: what a word costs in texts of up to 100,000 words.

Processor time counts, so that what else the machine does matters less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from performance.adapt import LABELS, peak
from performance.bench import processor_seconds, sentences
from performance.merge.measure import ROOT, answer
from performance.merge.report import machine, table
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.extraction"
GLINER = ROOT / "performance" / ".venv-gliner" / "bin" / "python"
TYPES = {5: 24, 50: 24, 500: 4}
"""How many texts are read for so many types."""
LENGTHS = (1_000, 10_000, 100_000)
ROUNDS = 5
Timed = dict[str, dict[str, float]]
"""By what is measured ("seconds" a text, "memory" in bytes) and the number of types."""


@guarded()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all by default")
    parser.add_argument("--no-write", action="store_true", help="print the tables, and leave docs/benchmarks.md alone")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    if given.measure:
        print(json.dumps(asked(given.measure)))
        return
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(PARTS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    names = given.parts or list(PARTS)
    if not given.no_write:
        for name in names:
            check_part(PAGE, f"{PART} {name}")
    for name in names:
        text = f"{machine()} One thread.\n\n{PARTS[name]()}"
        print(f"{name}\n\n{text}\n", flush=True)
        if not given.no_write:
            write_part(PAGE, f"{PART} {name}", text)


def union(pool: str = "builtin") -> Any:
    """A union over a pool whose two task models are of different experts."""
    from samner import ExpertPool, adapt

    model = adapt(ExpertPool.load(pool, "cpu"), sentences(24), LABELS)
    assert len({merge.model for merge in model.merges.values()}) == 2
    return model


def models() -> str:
    """One task model and two."""
    return one_and_two(union(), sentences(120), LABELS)


def smollm2() -> str:
    """One task model and two over a language model, in the number format that the processor decides."""
    from samner.precision import precision

    text = one_and_two(union("smollm2"), sentences(24), LABELS[:6], rounds=3)
    return f"{precision()}.\n\n{text}\n\nPeak RSS: {peak() / 1e6:,.0f} MB."


def one_and_two(model: Any, texts: Sequence[str], labels: Sequence[str], rounds: int = ROUNDS) -> str:
    """What a union takes over one of its task models."""
    ways: dict[str, Callable[[], object]] = {
        "one task model": lambda: model.predict(texts, labels, mode="similarity"),
        "two task models (the union)": lambda: model.predict(texts, labels),
    }
    model.predict(texts[:24], labels)
    took = [{name: processor_seconds(way) for name, way in ways.items()} for _ in range(rounds)]
    least = {name: min(one[name] for one in took) for name in ways}
    first = next(iter(least.values()))
    rows = [[name, f"{len(texts) / its:.1f}", f"{its / first:.2f}"] for name, its in least.items()]
    return table(("asked", "texts/s of processor", "time / one"), rows)


def asked(count: int) -> Timed:
    """What samner takes with so many task models."""
    model = union()
    mode = {"mode": "similarity"} if count == 1 else {}
    found: Timed = {"seconds": {}, "memory": {}}
    for kinds, many in TYPES.items():
        texts, labels = sentences(many), types(kinds)
        model.predict(texts[:1], labels, **mode)
        start = time.process_time()
        model.predict(texts, labels, **mode)
        found["seconds"][str(kinds)] = (time.process_time() - start) / many
        found["memory"][str(kinds)] = peak()
    return found


def peers() -> str:
    """Texts a second and memory by number of types, beside GLiNER."""
    from samner.embedding import MINILM, sentence_encoder_path
    from samner.precision import VARIABLE, precision

    if not GLINER.is_file():
        raise SystemExit(f"{GLINER} is missing: `make performance/.venv-gliner/.done` installs GLiNER there")
    tokenizer = f"{sentence_encoder_path(MINILM)}/tokenizer.json"

    def samner(count: int, dtype: str) -> Callable[[], Timed]:
        command = [sys.executable, "-m", "performance.extraction", "--measure", str(count)]
        return lambda: answer(command, {VARIABLE: dtype})

    def gliner(encoder: str, most: int) -> Callable[[], Timed]:
        asks = [[sentences(many), types(kinds)] for kinds, many in TYPES.items() if kinds <= most]
        given = json.dumps({"encoder": encoder, "tokenizer": tokenizer, "asked": asks})
        return lambda: answer([str(GLINER), str(ROOT / "performance" / "gliner_peer.py"), given], {})

    fastest = precision()
    systems = {
        f"samner, `builtin`, union of two, {fastest}": samner(2, fastest),
        "samner, `builtin`, union of two, float32": samner(2, "float32"),
        f"samner, `builtin`, one task model, {fastest}": samner(1, fastest),
        "GLiNER small, float32": gliner("small", 500),
        "GLiNER over MiniLM's shape, float32": gliner("minilm", 50),
    }
    runs: dict[str, list[Timed]] = {name: [] for name in systems}
    for _ in range(2):
        for name, run in systems.items():
            runs[name].append(run())
    rates = {name: [rate(its, kinds) for kinds in TYPES] for name, its in runs.items()}
    reference = next(iter(rates.values()))
    rows = []
    for name, its in rates.items():
        memory = max(max(one["memory"].values()) for one in runs[name])
        shown = [f"{value:.1f}" if value >= 1 else f"{value:.2f}" if value else "-" for value in its]
        times = [f"{ours / value:.1f}" if value else "-" for ours, value in zip(reference, its, strict=True)]
        rows.append([name, *shown, *times, f"{memory / 1e6:,.0f}"])
    kinds = [f"{count} types" for count in TYPES]
    header = ("texts/s of processor", *kinds, *(f"first / this, {kind}" for kind in kinds), "peak RSS, MB")
    version = answer([str(GLINER), "-c", "import json, gliner; print(json.dumps(gliner.__version__))"], {})
    return f"GLiNER {version}.\n\n{table(header, rows)}"


def rate(runs: Sequence[Timed], kinds: int) -> float:
    """Texts a second with so many types, the best of the rounds; 0 if that was not asked."""
    seconds = [run["seconds"][str(kinds)] for run in runs if str(kinds) in run["seconds"]]
    return 1 / min(seconds) if seconds else 0.0


def types(count: int) -> list[str]:
    """So many names of types."""
    return [f"kind {number} of thing" for number in range(count)]


def length() -> str:
    """What a word costs in longer and longer texts."""
    model = union()
    model.predict(sentences(8))
    words = itertools.cycle(" ".join(sentences(24)).split())
    rows = []
    for count in LENGTHS:
        text = " ".join(itertools.islice(words, count))
        seconds = processor_seconds(lambda text=text: model.predict([text]))
        rows.append([f"{count:,}", f"{seconds:.2f}", f"{1e6 * seconds / count:.0f}", f"{peak() / 1e6:,.0f}"])
    return table(("words of the text", "seconds of processor", "microseconds a word", "peak RSS, MB"), rows)


PARTS: dict[str, Callable[[], str]] = {"models": models, "smollm2": smollm2, "peers": peers, "length": length}


if __name__ == "__main__":
    main(sys.argv[1:])
