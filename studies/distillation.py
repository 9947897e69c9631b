"""Distil the pool over SmolLM2 into fast models, and hold those against their teachers and the fast pool.

    python -m studies.distillation --data ../shared/data                             # measure what is missing
    python -m studies.distillation --data ../shared/data --texts 5000 --only news    # from more texts
    python -m studies.distillation --data ../shared/data --training-domains          # what settings are chosen by
    python -m studies.distillation --data ../shared/data --table docs/results.md     # write what was measured

Resumable: a target that is finished is not measured again, one that was stopped goes on with what its teacher had
answered and the pupil learnt. Seconds are those of the processor, which other work beside it hardly changes; run it on
one thread (OMP_NUM_THREADS=1).

A target's texts are its unlabelled ones and, for more, those of its test file behind the first 200, which alone are
scored; for ordinary news, texts of two sets of news that taught no expert. Labels of them are not looked at. With
``--training-domains`` some sets of the pool's own domains are the targets, each without the expert of its domain: by
those the settings of ``samner.distillation`` are chosen, which no public target has a say in.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from samner.adaptation import adapt
from samner.cli.output import guarded
from samner.data import read_examples
from samner.distillation import ask, teach
from samner.entities import Entity, EntityType, Example, entity_types
from samner.files import atomic_file, read_json, write_json
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.task_model import TaskModel
from samner.training import training_set
from studies.training_data import Datasets

TARGETS = (
    "crossner_ai",
    "crossner_literature",
    "crossner_music",
    "crossner_politics",
    "crossner_science",
    "mit_movie",
    "mit_restaurant",
)
TRAINING_DOMAINS = ("train/news/worldwide_newswire", "train/social/btc", "train/stem/matscholar")
NEWS = ("conll2003", "worldwide_newswire")
CASE = "cases/27-ordinary-news/gold.jsonl"
SCORED = 200
ADAPTED_TO = 500
BEGIN, END = "<!-- distillation: made by studies/distillation.py -->", "<!-- end of distillation -->"


@dataclass(frozen=True)
class Target:
    """What a model is distilled for.

    Args:
        name: For the table.
        types: What is looked for.
        unlabelled: Texts to adapt to and to learn from.
        test: Texts with their true entities, none of them among the unlabelled.
        without: An expert that takes no part.
    """

    name: str
    types: tuple[EntityType, ...]
    unlabelled: list[str]
    test: list[Example]
    without: str | None = None

    def f1(self, found: Sequence[Sequence[Entity]]) -> float:
        """Strict micro-F1 of what was found in the test texts, in per cent."""
        names = {t.name for t in self.types}
        return round(100 * micro_f1([example.entities for example in self.test], found, names), 1)


def targets(data: Path, texts: int) -> Iterator[Target]:
    """The seven public targets and ordinary news, each with up to so many texts to learn from."""
    for name in TARGETS:
        test = read_examples(data / "target" / name / "test.jsonl")
        others = [*read_examples(data / "target" / name / "unlabeled.jsonl"), *test[SCORED:]]
        yield _target(name, training_set(name, test).types, others, test[:SCORED], texts)
    gold = read_examples(data.parent / CASE)
    news = [data / "train" / "news" / name / f"{split}.jsonl" for name in NEWS for split in ("dev", "test")]
    others = [example for path in news for example in read_examples(path)]
    random.Random(0).shuffle(others)
    types = entity_types(["person", "organization", "location", "date", "money"])
    yield _target("news", types, others, gold, texts)


def training_domains(data: Path, texts: int) -> Iterator[Target]:
    """Sets of the pool's own domains, each without the expert of its domain."""
    sets = Datasets(data)
    for name in TRAINING_DOMAINS:
        _, domain, short = name.split("/")
        dev, test = sets.examples(name, "dev"), sets.examples(name, "test")[:SCORED]
        yield _target(short, sets.types(name), dev, test, texts, domain)


def _target(
    name: str,
    types: tuple[EntityType, ...],
    others: Sequence[Example],
    test: list[Example],
    texts: int,
    without: str | None = None,
) -> Target:
    tested = {example.text for example in test}
    unlabelled = [text for text in dict.fromkeys(example.text for example in others) if text not in tested]
    return Target(name, types, unlabelled[:texts], test, without)


def measure(target: Target, run: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Teacher, pupil and fast pool on the test texts, with seconds; as JSON values."""
    texts = target.unlabelled[:ADAPTED_TO]
    exclude = [target.without] if target.without else []
    with adapt(ExpertPool.load("smollm2"), texts, target.types, exclude=exclude) as teacher:
        answers = ask(teacher, target.unlabelled, name=f"smollm2 adapted to {target.name}", run=run, on_done=print_dot)
        if not (run / "teacher.json").is_file():
            write_json(run / "teacher.json", read(teacher, target))
    fast = ExpertPool.load("builtin")
    begun = process_time()
    pupil = teach(answers, fast, options=options, run=run, tell=print)
    training = process_time() - begun
    record = pupil.settings["distilled"]
    result = {
        "texts": len(target.unlabelled),
        "tested": len(target.test),
        "taught": len(pupil.types),
        "left_out": record["left_out"],
        "training": round(training, 1),
        "steps": record["training"]["outcome"]["steps"],
        "agreement": round(100 * record["agreement"], 1),
        "threshold": pupil.threshold,
        "teacher": read_json(run / "teacher.json"),
        "pupil": read(pupil, target),
    }
    pupil.close()
    with adapt(fast, texts, target.types, exclude=exclude) as union:
        return {**result, "fast": read(union, target)}


def read(model: TaskModel, target: Target) -> dict[str, Any]:
    """The F1 of a model on the test texts, and its texts a second; the types are known to it by then."""
    texts = [example.text for example in target.test]
    model.predict(texts[:2])
    begun = process_time()
    found = model.predict(texts)
    return {"f1": target.f1(found), "rate": round(len(texts) / (process_time() - begun), 2)}


def print_dot(_: int) -> None:
    print(".", end="", flush=True)


HEADER = (
    "| target | texts | types taught | F1: teacher | pupil | fast pool | texts/s: teacher | pupil | fast pool | "
    "pupil, times as fast | training, s |"
)


def rows(runs: Path) -> dict[tuple[str, int], str]:
    """What was measured, by target and how many texts it learnt from, as rows of a table."""
    found = {}
    for path in runs.glob("*/result-*.json"):
        r = read_json(path)
        teacher, pupil, fast = (r[name] for name in ("teacher", "pupil", "fast"))
        cells = [
            r["name"],
            r["texts"],
            f"{r['taught']} of {r['taught'] + len(r['left_out'])}",
            *(f"{model['f1']:.1f}" for model in (teacher, pupil, fast)),
            *(f"{model['rate']:.1f}" for model in (teacher, pupil, fast)),
            f"{pupil['rate'] / teacher['rate']:.0f}",
            f"{r['training']:.0f}",
        ]
        found[r["name"], r["texts"]] = f"| {' | '.join(map(str, cells))} |"
    return found


def table(made: dict[tuple[str, int], str]) -> str:
    """The rows in order, as Markdown."""
    return "\n".join([HEADER, "|---|" + "---:|" * 10, *(made[key] for key in sorted(made))])


def write_table(page: Path, made: dict[tuple[str, int], str]) -> None:
    """Put the rows into their table on a page; those there that were not measured again stay."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    there, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{page}: holds no {BEGIN} ... {END}")
    cells = [(line, [cell.strip() for cell in line.split("|")]) for line in there.splitlines()]
    old = {(row[1], int(row[2])): line for line, row in cells if len(row) > 2 and row[2].isdigit()}
    with atomic_file(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{table(old | made)}\n\n{END}{after}", encoding="utf-8")


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds target/ and train/")
    parser.add_argument("--runs", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--texts", type=int, default=500, help="to learn from, as far as there are so many")
    parser.add_argument("--only", nargs="*", help="targets by name; all by default")
    parser.add_argument("--training-domains", action="store_true", help="these as targets instead")
    parser.add_argument("--options", type=json.loads, default={}, help="of the pupil's training, as JSON")
    parser.add_argument("--table", type=Path, metavar="PAGE", help="write what was measured there; measure nothing")
    arguments = parser.parse_args()
    runs = arguments.runs / "training-domains" if arguments.training_domains else arguments.runs
    if arguments.table:
        write_table(arguments.table, rows(runs))
        return
    for target in (training_domains if arguments.training_domains else targets)(arguments.data, arguments.texts):
        run, result = runs / target.name, runs / target.name / f"result-{arguments.texts}.json"
        if (arguments.only and target.name not in arguments.only) or result.is_file():
            continue
        print(f"{target.name}: {len(target.unlabelled)} texts")
        run.mkdir(parents=True, exist_ok=True)
        write_json(result, {"name": target.name, **measure(target, run, arguments.options)})
    print(table(rows(runs)))


if __name__ == "__main__":
    main()
