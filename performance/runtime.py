"""Measure asking an exported model without torch beside torch, and write the table into docs/benchmarks.md.

python -m performance.runtime --data ../shared/data [--threads 2] [--work FOLDER]

Adapts the built-in pool to the unlabelled texts of a data set, exports the union of both task models as ONNX in
float32 and in eight bits, and asks them and torch, in float32 and in bfloat16 where the processor has instructions for
it, about its 500 first labelled texts. Start-up is that of a fresh process
up to its first answer; exported models then run from a folder in which nothing is installed but what they need. Both
wall time and processor time are shown: the second says more where others share the machine. The last row is what no
float32 can pass: the products of the linear layers alone, without padding, at the rate of torch's in the same shapes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from performance.merge.measure import ROOT
from performance.merge.report import machine, table
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded
from samner.precision import VARIABLE, precision

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.runtime"
PROJECT = ROOT / "packaging" / "runtime"
SENTENCE = "Aspirin relieves headache."
PARTS = 4
"""Into which the texts are cut; each part is timed with every model in turn, so that what else runs hits all alike."""
STARTS = 3
ROWS = 1024
"""Sub-tokens of a product whose rate is measured: as many as a batch has."""
EXACT = "torch float32"
ASK = {
    "torch": "from samner.task_model import TaskModel as Model",
    "onnx": "from samner.runtime import ExportedModel as Model",
}


@guarded()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the labelled data sets")
    parser.add_argument("--target", default="crossner_science", help="which of its target sets is read")
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="keep models and installations here, and use those that are there")
    parser.add_argument("--no-write", action="store_true", help="print the tables, and leave docs/benchmarks.md")
    given = parser.parse_args(arguments)
    if not given.no_write:
        check_part(PAGE, PART)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # before torch and numpy read it
    with TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        sizes, small = installed(work)
        models = exported(given.data / "target" / given.target, work)
        starts = {name: start(name, path, small) for name, path in models.items()}
        target = given.data / "target" / given.target
        rows = [
            *measured(models, target, given.texts, given.threads, starts),
            limit(models[EXACT], target, given.texts),
        ]
    head = ("model", f"entities as {EXACT}", "F1", "start-up, s", "of processor, s", "texts/s", "texts/s of processor")
    text = "\n\n".join(
        [
            f"{machine()} Threads: {given.threads}; {given.texts} texts of {given.target}.",
            table(head, rows),
            "What is installed, without compiled bytecode (`pip install --no-compile`), MB:",
            table(("package", "all that is declared", "what is used"), sizes),
        ]
    )
    print(text)
    if not given.no_write:
        write_part(PAGE, PART, text)


def installed(work: Path) -> tuple[list[list[str]], Path]:
    """Sizes by package, and the folder that holds only what is used."""
    wanted = {"declared": [], "used": ["--no-deps", "-r", str(PROJECT / "requirements.txt")]}
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    for name, options in wanted.items():
        if not (work / name).is_dir():
            subprocess.run([*pip, "--target", work / name, *options, PROJECT], check=True)
    sizes = [_sizes(work / name) for name in wanted]
    order = sorted(sizes[0], key=lambda package: -sizes[0][package])
    rows = [
        [package, *(f"{its[package]:.1f}" if package in its else "" for its in sizes)]
        for package in order
        if sizes[0][package] >= 0.5
    ]
    rest = [sum(size for package, size in its.items() if sizes[0][package] < 0.5) for its in sizes]
    totals = [sum(its.values()) for its in sizes]
    return [
        *rows,
        ["smaller ones", *(f"{size:.1f}" for size in rest)],
        ["**all**", *(f"**{size:.0f}**" for size in totals)],
    ], work / "used"


def _sizes(folder: Path) -> dict[str, float]:
    """Megabytes by what lies at the top: a package with the libraries beside it."""
    sizes: dict[str, float] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            package = path.relative_to(folder).parts[0].removesuffix(".libs").removesuffix(".py").split("-")[0]
            sizes[package] = sizes.get(package, 0) + path.stat().st_size / 1e6
    return sizes


def exported(target: Path, work: Path) -> dict[str, Path]:
    """The folders of the models."""
    from samner import ExpertPool, adapt
    from samner.data import read_examples, read_texts
    from samner.export import export_task_model
    from samner.scoring import scored_labels
    from samner.task_model import TaskModel

    folders = {EXACT: work / "model", "onnx float32": work / "float32", "onnx int8": work / "int8"}
    os.environ[VARIABLE] = "float32"
    if not folders[EXACT].is_dir():
        labels = sorted({entity.label for one in read_examples(target / "test.jsonl") for entity in one.entities})
        model = adapt(ExpertPool.load("builtin"), read_texts(target / "unlabeled.jsonl"), scored_labels(labels))
        model.save(folders[EXACT])
    model = TaskModel.load(folders[EXACT], "cpu")
    for name, folder in list(folders.items())[1:]:
        if not folder.is_dir():
            export_task_model(model, folder, "onnx", int8=name.endswith("int8"))
    del os.environ[VARIABLE]
    return folders | ({"torch bfloat16": folders[EXACT]} if precision() == "bfloat16" else {})


def start(name: str, model: Path, packages: Path) -> tuple[float, float]:
    """Least seconds of wall and of processor time, system included, from a new process to its first answer."""
    kind, format = name.split()
    first = f"import sys; sys.path.insert(0, {str(packages)!r}); " if kind == "onnx" else ""
    code = f"{first}{ASK[kind]}\nModel.load({str(model)!r}).predict_entities({SENTENCE!r})"
    alone = ["-S", "-I"] if kind == "onnx" else []  # of all other installed packages it sees none
    environment = os.environ | {VARIABLE: format}
    walls, processor = [], []
    for _ in range(STARTS):
        before, began = _children(), time.perf_counter()
        command = [sys.executable, "-W", "ignore", *alone, "-c", code]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        walls.append(time.perf_counter() - began)
        processor.append(_children() - before)
    return min(walls), min(processor)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(
    models: dict[str, Path], target: Path, count: int, threads: int, starts: dict[str, tuple[float, float]]
) -> list[list[str]]:
    """A row for each model."""
    import torch

    from samner.data import read_gold
    from samner.runtime import ExportedModel
    from samner.scoring import micro_f1
    from samner.task_model import TaskModel

    torch.set_num_threads(threads)
    gold = read_gold(target / "test.jsonl")[:count]
    texts = [example.text for example in gold]
    opened: dict[str, Any] = {}
    for name, path in models.items():
        kind, os.environ[VARIABLE] = name.split()
        opened[name] = TaskModel.load(path, "cpu") if kind == "torch" else ExportedModel.load(path, threads=threads)
    found: dict[str, list[Any]] = {name: [] for name in opened}
    took = {name: [0.0, 0.0] for name in opened}
    for model in opened.values():
        model.predict(texts[:8])
    for part in _parts(texts):
        for name, model in opened.items():
            with _timed(took[name]):
                found[name] += model.predict(part)
    labels = {t.name for t in opened[EXACT].types}
    rows = []
    for name, its in found.items():
        same = sum({e.key for e in a} == {e.key for e in b} for a, b in zip(its, found[EXACT], strict=True))
        f1 = 100 * micro_f1([example.entities for example in gold], its, labels)
        wall, processor = (len(texts) / seconds for seconds in took[name])
        shown = [f"{value:.2f}" for value in starts[name]]
        rows.append([name, f"{same} of {len(texts)} texts", f"{f1:.2f}", *shown, f"{wall:.1f}", f"{processor:.1f}"])
    return rows


def limit(model: Path, target: Path, count: int) -> list[str]:
    """A row: what the products of all linear layers take by themselves, at the best rate of several rounds."""
    import torch

    from samner.data import read_gold
    from samner.task_model import TaskModel

    opened = TaskModel.load(model, "cpu")
    backbone: Any = opened.backbone
    ends = len(backbone.tokenizer.prefix) + len(backbone.tokenizer.suffix)
    tokens = sum(
        its.cost + ends for its in backbone.tokenize([one.text for one in read_gold(target / "test.jsonl")[:count]])
    )
    shapes = list(backbone.module_shapes().values())
    seconds, operations = 0.0, 0
    for shape in sorted(set(shapes)):
        x, weight = torch.randn(ROWS, shape[1]), torch.randn(shape)
        best = float("inf")
        for _ in range(50):
            began = time.process_time()
            torch.mm(x, weight.T)
            best = min(best, time.process_time() - began)
        times = shapes.count(shape) * len(opened.merges) * tokens
        seconds += best * times / ROWS
        operations += 2 * shape[0] * shape[1] * times
    rate = f"the products alone, {operations / seconds / 1e9:.0f} GFLOP/s"
    return [rate, "", "", "", "", "", f"{count / seconds:.1f}"]


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    size = -(-len(texts) // PARTS)
    yield from (texts[i : i + size] for i in range(0, len(texts), size))


@contextmanager
def _timed(took: list[float]) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    took[0] += time.perf_counter() - wall
    took[1] += time.process_time() - processor


if __name__ == "__main__":
    main(sys.argv[1:])
