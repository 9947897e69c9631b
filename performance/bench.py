"""Guard against getting slower: a small version of what docs/benchmarks.md measures, as ratios.

python -m performance.bench [PART ...]      # compares with performance/expected.json; exit code 1 if a ratio is worse
python -m performance.bench --write         # writes that file

Every ratio is processor time over that of a reference which is the least that the work takes: the products of its
matrices, the reading of its files, the same for less. Both are measured in turn, in one process, several times, and
the median of the rounds counts: what else the machine does hits both alike. Seconds are compared with nothing.

A ratio is worse if it is above the expected one by more than its tolerance, a share of it. On another processor than
the one in the file ratios may be others, without anything being wrong: write a file of your own there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from performance.adapt import LABELS, sample
from performance.merge.measure import ROOT, answer
from samner.cli.output import guarded

EXPECTED = ROOT / "performance" / "expected.json"
TOLERANCE = 0.35
TOLERANCES: Mapping[str, float] = {
    "adapting: saving / checksums of what is saved": 0.6,
    "cards: 1,000 known, opened and ranked / parsing them": 0.5,
    "cards: adding to 1,000 / to 100": 0.6,
    "cards: sampling among 1,000 / among 100": 0.5,
}
"""Where milliseconds are measured, or files written, more is chance."""

ROUNDS = 5

Action = Callable[[], object]
Ratios = dict[str, float]


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all by default")
    parser.add_argument("--write", action="store_true", help="write what is measured as what is expected")
    parser.add_argument("--expected", type=Path, default=EXPECTED, help="the file; by default the repository's")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; there are {', '.join(PARTS)}")
    if given.measure:
        warnings.filterwarnings("ignore")
        print(json.dumps(PARTS[given.parts[0]]()))
        return 0
    from performance.merge.report import machine, processor

    parts = given.parts or list(PARTS)
    anew = given.write and not (given.parts and given.expected.exists())
    expected = {} if anew else read(given.expected)
    print(machine())
    if not given.write and expected.get("processor") != processor():
        print(f"{given.expected.name} was written on {expected.get('processor', 'nothing')}: other ratios are likely")
    found: Ratios = {}
    for part in parts:
        start = time.perf_counter()
        its = child(part)
        found |= its
        if not given.write:
            for name, ratio in its.items():
                print(line(name, ratio, expected["ratios"].get(name)), flush=True)
        print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    if given.write:
        ratios = {name: round(ratio, 3) for name, ratio in ({**expected.get("ratios", {}), **found}).items()}
        content = {"machine": machine(), "processor": processor(), "ratios": ratios}
        given.expected.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {given.expected}")
        return 0
    missing = [name for name in expected["ratios"] if name.partition(":")[0] in parts and name not in found]
    for name in missing:
        print(f"not measured  {name}: this processor has no instructions for it")
    return int(any(is_worse(name, ratio, expected["ratios"].get(name)) for name, ratio in found.items()))


def read(path: Path) -> dict[str, Any]:
    """What is expected.

    Raises:
        SystemExit: If there is no such file, or it is another.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["ratios"] = {str(name): float(ratio) for name, ratio in content["ratios"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SystemExit(f"{path}: cannot be read ({error}); `make bench WRITE=1` writes it") from error
    return content


def most(name: str, expected: float) -> float:
    """The highest ratio that is not worse."""
    return expected * (1 + TOLERANCES.get(name, TOLERANCE))


def is_worse(name: str, ratio: float, expected: float | None) -> bool:
    """Whether a ratio is above what is expected, by more than its tolerance."""
    return expected is not None and ratio > most(name, expected)


def line(name: str, ratio: float, expected: float | None) -> str:
    """What is said of a ratio."""
    if expected is None:
        return f"new           {name}: {ratio:.2f}; nothing is expected of it yet"
    verdict = "WORSE" if is_worse(name, ratio, expected) else "better" if ratio < expected / 1.3 else "as expected"
    return f"{verdict:<13} {name}: {ratio:.2f}, expected {expected:.2f}, at most {most(name, expected):.2f}"


def child(part: str) -> Ratios:
    """What a part measures, in a process of its own with one thread and a home of its own."""
    with tempfile.TemporaryDirectory(prefix="samner-bench-") as home:
        command = [sys.executable, "-m", "performance.bench", "--measure", part]
        ratios: Ratios = answer(command, {"SAMNER_HOME": home, "OMP_NUM_THREADS": "1"})
    return ratios


def ratio(action: Action, reference: Action, rounds: int = ROUNDS) -> float:
    """Processor time of an action over that of a reference: the median of rounds in which each is done once."""
    action(), reference()
    found = []
    for number in range(rounds):
        if number % 2:
            took, least = processor_seconds(action), processor_seconds(reference)
        else:
            least, took = processor_seconds(reference), processor_seconds(action)
        found.append(took / least)
    return statistics.median(found)


def processor_seconds(action: Action) -> float:
    """Seconds of processor that this process and its children took, system included."""
    start = _used()
    action()
    return _used() - start


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def products(shapes: Sequence[tuple[int, int]], tokens: int, dtype: Any, rows: int = 1024) -> Action:
    """The matrix products alone of so many tokens in layers of some shapes (out, in), by batches of ``rows``."""
    import torch

    weights = [torch.randn(shape).to(dtype) for shape in shapes]
    inputs = {shape[1]: torch.randn(rows, shape[1]).to(dtype) for shape in shapes}
    times = -(-tokens // rows)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(times):
                for weight in weights:
                    torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    return run


def sentences(count: int) -> list[str]:
    """So many texts: those that ship with samner, over and over."""
    return list(itertools.islice(itertools.cycle(sample()), count))


def adapting() -> Ratios:
    """From nothing to a saved model, by stages."""
    import hashlib

    from samner import ExpertPool, adapt
    from samner.adaptation import merge_experts, recipes, select
    from samner.embedding import embed_domain, encode
    from samner.entities import entity_types
    from samner.precision import fastest_dtype

    def python(code: str) -> Action:
        return lambda: subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

    pool, texts, types = ExpertPool.load("builtin", "cpu"), sentences(96), entity_types(LABELS)
    backbone: Any = pool.backbone
    shapes = list(backbone.module_shapes().values())
    dtype, tokens = fastest_dtype(), _tokens(backbone, texts)
    embed_domain(texts)
    selections = select(pool, texts, types)
    weights = next(iter(recipes(selections, "union").values()))
    adapters = [pool.adapter(expert) for expert in weights]
    backbone_tokens = _tokens(backbone, [texts[i] for i in selections["sampling"].sample])

    def merge() -> None:
        merged = merge_experts(pool, weights, "ties", {"density": 0.2})
        backbone.prepare(merged.model)

    model = adapt(pool, texts, LABELS)
    with tempfile.TemporaryDirectory() as name:
        saved = Path(name) / "0"
        model.save(saved)
        written = [path.read_bytes() for path in saved.rglob("*") if path.is_file()]
        places = itertools.count(1)
        return {
            "adapting: import and a sentence's embedding / importing torch": ratio(
                python("from samner import adapt; from samner.embedding import embed_domain; embed_domain(['a'])"),
                python("import torch"),
                3,
            ),
            "adapting: embedding the texts / their products": ratio(
                lambda: encode(texts, fast=True), products(shapes, tokens, dtype)
            ),
            "adapting: selecting, texts embedded / products of the experts asked": ratio(
                lambda: select(pool, texts, types),
                products(shapes, backbone_tokens * len(pool.names), dtype),
            ),
            "adapting: a merge / its products": ratio(merge, _merge_products(adapters)),
            "adapting: saving / checksums of what is saved": ratio(
                lambda: model.save(Path(name) / str(next(places))),
                lambda: [hashlib.sha256(content).digest() for content in written],
            ),
        }


def extraction() -> Ratios:
    """Texts read by one task model, by two, with many types, and long ones."""
    from samner import ExpertPool
    from samner.adaptation import merge_experts
    from samner.entities import entity_types
    from samner.precision import fastest_dtype

    pool, texts = ExpertPool.load("builtin", "cpu"), sentences(72)
    backbone: Any = pool.backbone
    merges = [merge_experts(pool, dict.fromkeys(names, 1.0), "ties", {}) for names in _two(pool.names)]
    one, two = [merges[0].model], [merge.model for merge in merges]
    types = entity_types(LABELS)
    few, many = (entity_types(f"kind {i} of thing" for i in range(count)) for count in (5, 500))
    words = " ".join(texts).split()
    short, long = " ".join(words[:400]), " ".join(itertools.islice(itertools.cycle(words), 6400))
    shapes, tokens = list(backbone.module_shapes().values()), _tokens(backbone, texts)

    def read(read: Sequence[str], models: Sequence[str], types: Sequence[Any] = types) -> Action:
        return lambda: backbone.predict(read, types, models, backbone.threshold)

    return {
        "extraction: one task model / its products": ratio(
            read(texts, one), products(shapes, tokens, fastest_dtype())
        ),
        "extraction: two task models / one": ratio(read(texts, two), read(texts, one)),
        "extraction: 500 types / 5": ratio(read(texts, one, many), read(texts, one, few)),
        "extraction: a text of 6,400 words / 16 of 400": ratio(read([long], one), read([short] * 16, one)),
    }


def merging() -> Ratios:
    """Exact TIES of a layer of Llama-3.2-1B's shapes, over its products: each task vector made three times."""
    from performance.merge.adapters import write_adapters
    from performance.merge.engine import OUTPUT_RANK, RANK
    from performance.merge.ours import DENSITY
    from performance.merge.shapes import LLAMA_1B
    from samner.export.adapter import AdapterTarget
    from samner.merging import LoraAdapter, Merger

    with tempfile.TemporaryDirectory() as name:
        paths = write_adapters(name, LLAMA_1B.widths, 1, 3, RANK)
        adapters = [LoraAdapter.load(path) for path in paths]

        def merger() -> Merger:
            return Merger(adapters, "ties", density=DENSITY, device="cpu", threads=1)

        def null() -> None:
            with merger() as merging:
                for _ in merging.tiles():
                    pass

        def written() -> None:
            with tempfile.TemporaryDirectory(dir=name) as folder, merger() as merging:
                AdapterTarget(OUTPUT_RANK).write(merging, Path(folder))

        return {
            "merging: nothing kept / its products": ratio(null, _merge_products(adapters)),
            "merging: an adapter written / its products": ratio(
                written, _merge_products(adapters, sketch=OUTPUT_RANK), 3
            ),
        }


def cards() -> Ratios:
    """A pool of 1,000 experts."""
    from performance.pool import grow
    from samner import ExpertPool
    from samner.adaptation import select
    from samner.embedding import embed_domain
    from samner.entities import entity_types
    from samner.selection import select_by_similarity

    texts, types = sentences(24), entity_types(LABELS[:4])
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small", Path(name) / "large"
        grow(small, 100)
        grow(large, 1000)
        read = [path.read_text(encoding="utf-8") for path in sorted((large / "experts").glob("*/expert.json"))]
        embed_domain(texts)
        fresh = itertools.count()

        def known() -> None:
            select_by_similarity(ExpertPool.load(large, "cpu").experts, texts)

        def first() -> None:
            home = os.environ["SAMNER_HOME"]
            os.environ["SAMNER_HOME"] = str(Path(name) / f"home-{next(fresh)}")
            known()
            os.environ["SAMNER_HOME"] = home

        def parse() -> None:
            for text in read:
                json.loads(text)

        def add(pool: ExpertPool) -> Action:
            def run() -> None:
                pool.add(pool.expert_folder(pool.names[0]), "added")
                pool.remove("added")

            return run

        pools = [ExpertPool.load(folder, "cpu") for folder in (large, small)]
        for pool in pools:
            _ = pool.backbone
        return {
            "cards: 1,000 read for the first time / parsing them": ratio(first, parse),
            "cards: 1,000 known, opened and ranked / parsing them": ratio(known, parse),
            "cards: adding to 1,000 / to 100": ratio(add(pools[0]), add(pools[1])),
            "cards: sampling among 1,000 / among 100": ratio(
                lambda: select(pools[0], texts, types, mode="sampling"),
                lambda: select(pools[1], texts, types, mode="sampling"),
                3,
            ),
        }


def precision() -> Ratios:
    """Number formats that the processor has instructions for, over float32."""
    from samner import ExpertPool
    from samner.backbones import BASE
    from samner.entities import entity_types
    from samner.precision import VARIABLE, precision

    types, fastest = entity_types(LABELS), precision()
    answer: Ratios = {}

    def reads(pool: str, dtype: str, texts: Sequence[str]) -> Action:
        os.environ[VARIABLE] = dtype
        backbone = ExpertPool.load(pool, "cpu").backbone

        def run() -> None:
            os.environ[VARIABLE] = dtype  # heads ask at every pass
            backbone.predict(texts, types, [BASE], backbone.threshold)

        return run

    for pool, formats, count in (("builtin", ["bfloat16"], 48), ("smollm2", ["bfloat16", "int8"], 3)):
        texts = sentences(count)
        exact = reads(pool, "float32", texts)
        for other in formats:
            if fastest == "bfloat16" or other == fastest:
                answer[f"precision: {pool} in {other} / in float32"] = ratio(reads(pool, other, texts), exact, 3)
    return answer


PARTS: dict[str, Callable[[], Ratios]] = {
    part.__name__: part for part in (adapting, extraction, merging, cards, precision)
}


def _tokens(backbone: Any, texts: Sequence[str]) -> int:
    """Sub-tokens of texts, those at both ends included."""
    ends = len(backbone.tokenizer.prefix) + len(backbone.tokenizer.suffix)
    return sum(tokens.cost + ends for tokens in backbone.tokenize(texts))


def _two(names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Three experts, and three others."""
    return names[:3], names[3:6]


def _merge_products(adapters: Sequence[Any], sketch: int = 0) -> Action:
    """The products alone of an exact merge, tile by tile: each task vector three times; and a sketch, twice."""
    import torch

    from performance.merge.engine import PASSES
    from samner.merging.task_vectors import tiles

    work = []
    for module, factors in adapters[0].factors.items():
        rows = next(tiles(module, factors.shape, torch.device("cpu"))).stop
        work.append((rows, factors.shape, [a.factors[module].a.shape[0] for a in adapters if module in a.factors]))

    def run() -> None:
        for rows, (height, width), ranks in work:
            out, thin = torch.empty(rows, width), torch.empty(width, sketch)
            times = -(-height // rows)
            for rank in ranks * PASSES:
                b, a = torch.ones(rows, rank), torch.ones(rank, width)
                for _ in range(times):
                    torch.mm(b, a, out=out)
            for _ in range(2 * times if sketch else 0):
                torch.mm(out, thin)

    return run


if __name__ == "__main__":
    sys.exit(main())
