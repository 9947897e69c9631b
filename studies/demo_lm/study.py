"""A controlled study: two targets whose right experts are known, and experts trained with several seeds.

    python -m studies.demo_lm.study --seeds 0 1 2 --out docs/results.md

Needs what ``python -m studies.demo_lm.train --seed N`` made. What was measured for a seed is kept in
``runs/demo_lm/study`` and not measured again. Writes Markdown between markers that the file must hold.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from performance.merge.report import machine, table
from samner.adaptation import adapt, merge_experts
from samner.backbones import BASE
from samner.benchmark.answers import TargetTexts, read_target
from samner.benchmark.config import TargetSettings
from samner.benchmark.report.document import write_part
from samner.cli.output import guarded
from samner.data import read_examples
from samner.entities import Example, entity_types
from samner.files import read_json, write_json
from samner.pool import ExpertPool
from samner.scoring import score
from samner.selection import Selection
from samner.spans import flat
from samner.task_model import STRATEGIES
from studies.demo_lm.generate import Field, read_fields

HERE = Path(__file__).parent
RUNS = HERE.parent.parent / "runs" / "demo_lm"
MAKER = "demo_lm study"
BASELINE = "unified"
METHODS: dict[str, dict[str, Any]] = {
    "ties": {},
    "dare_ties": {},
    "dare_linear": {},
    "linear": {},
    "linear, summed": {"lam": 3.0},
}
"""Merge methods by title, with what differs from their defaults. The first word of the title is the method."""

log = logging.getLogger("study")


@dataclass(frozen=True)
class Study:
    """One pool, and what is asked of it.

    Args:
        pool: Trained with the seed.
        data: The texts, as generate.py writes them.
        seed: Of the pool, of the draw of the sample texts and of merge methods that are random.
    """

    pool: ExpertPool
    data: Path
    seed: int

    def run(self) -> dict[str, Any]:
        """All measurements, as JSON values."""
        result: dict[str, Any] = {"own": self._own_domains(), "targets": {}}
        for name, field in read_fields("targets").items():
            log.info("seed %d: %s", self.seed, name)
            files = {key: str(self.data / name / f"{key}.jsonl") for key in ("test", "unlabeled")}
            result["targets"][name] = self._target(read_target(name, TargetSettings(**files)), field)
        return result

    def _own_domains(self) -> dict[str, Any]:
        """Base, each expert and the baseline on the test split of a domain."""
        self.pool.load_experts(list(self.pool.experts))
        baseline = self.pool.load_baseline(BASELINE)
        result = {}
        for name, field in read_fields("domains").items():
            test = read_examples(self.data / name / "test.jsonl")
            models = {"base": BASE, "expert": name, BASELINE: baseline}
            result[name] = {who: self._ask(model, test, field.types) for who, model in models.items()}
        return result

    def _target(self, target: TargetTexts, field: Field) -> dict[str, Any]:
        measured: dict[bool, tuple[dict[str, float], Mapping[str, Selection]]] = {}
        for constrained in (True, False):
            with_constraint(self.pool, constrained)
            measured[constrained] = self._arms(target)
        right = sorted(field.experts)
        f1, free = measured[True][0], measured[False][0]
        return {
            "arms": {arm: {"f1": f1[arm], "free": free[arm]} for arm in f1},
            "chosen": {
                name: {"experts": list(selection.chosen), "right": sorted(selection.chosen) == right}
                for name, selection in measured[True][1].items()
            },
            "methods": {title: self._merged(title, right, target) for title in METHODS},
        }

    def _arms(self, target: TargetTexts) -> tuple[dict[str, float], Mapping[str, Selection]]:
        """Strict F1 of the base, the experts, the baseline and what ``adapt`` makes, and what it selected."""
        backbone, texts = self.pool.backbone, [example.text for example in target.test]
        singles = {"base": BASE, **{name: name for name in self.pool.experts}, BASELINE: f"baseline:{BASELINE}"}
        found = {
            arm: [flat(e) for e in backbone.predict(texts, target.types, [name], backbone.threshold)[name]]
            for arm, name in singles.items()
        }
        both = adapt(self.pool, target.unlabelled, target.types, seed=self.seed)
        economy = adapt(self.pool, target.unlabelled, target.types, seed=self.seed, mode="economy")
        found |= {mode: both.predict(texts, mode=mode) for mode in (*STRATEGIES, "union")}
        found["economy"] = economy.predict(texts)
        scores = {arm: score(target.test, answers, target.types).strict.counts.f1 for arm, answers in found.items()}
        return scores, both.selections

    def _merged(self, title: str, experts: Sequence[str], target: TargetTexts) -> dict[str, float]:
        """The right experts merged by a method, so that nothing but merging is measured."""
        method, parameters = title.split(",")[0], METHODS[title]
        if method.startswith("dare"):
            parameters = {**parameters, "seed": self.seed}
        merged = merge_experts(self.pool, dict.fromkeys(experts, 1.0), method, parameters)
        return self._ask(merged.model, target.test, [t.name for t in target.types])

    def _ask(self, model: str, test: Sequence[Example], labels: Iterable[str]) -> dict[str, float]:
        """Strict F1 with constrained decoding and without, and the share of free answers that are valid JSON."""
        types, texts = entity_types(labels), [example.text for example in test]
        backbone = self.pool.backbone
        found = {}
        for constrained in (True, False):
            with_constraint(self.pool, constrained)
            before = backbone.statistics[model].copy()
            answers = backbone.predict(texts, types, [model], backbone.threshold)[model]
            counts = backbone.statistics[model] - before
            found[constrained] = score(test, [flat(entities) for entities in answers], types).strict.counts.f1
        return {"f1": found[True], "free": found[False], "valid": counts["valid"] / counts["answers"]}


def with_constraint(pool: ExpertPool, constrained: bool) -> None:
    """Let the models of a pool's base answer in valid JSON only, or as they like."""
    pool.backbone.card = pool.backbone.card.model_copy(update={"constrained": constrained})  # type: ignore[attr-defined]


def markdown(results: Mapping[int, Mapping[str, Any]]) -> str:
    """The tables, as the mean over the seeds and the standard deviation."""
    runs = list(results.values())
    note = (
        f"Strict span F1 times 100: mean over {len(runs)} seeds (experts and baseline trained anew with each, on one "
        "base), standard deviation. Free: decoding without constraint. Valid: share of the free answers that are "
        "strict JSON of the shape asked for, in per cent."
    )
    return "\n\n".join(
        [
            f"Made by `python -m studies.demo_lm.study`; {machine()}",
            note,
            "### Each expert on its own domain",
            _own_domains(runs),
            "### The targets",
            _arms(runs),
            "### Were the right experts chosen?",
            _choices(runs),
            "### The right three experts, merged by each method",
            _methods(runs),
        ]
    )


def _own_domains(runs: Sequence[Mapping[str, Any]]) -> str:
    columns = [("base", "f1"), ("expert", "f1"), (BASELINE, "f1"), ("expert", "free"), ("expert", "valid")]
    rows = [
        [domain, *(over(run["own"][domain][who][key] for run in runs) for who, key in columns)]
        for domain in runs[0]["own"]
    ]
    return table(["domain", *(who if key == "f1" else f"{who}, {key}" for who, key in columns)], rows)


def _arms(runs: Sequence[Mapping[str, Any]]) -> str:
    columns = [(target, key) for key in ("f1", "free") for target in runs[0]["targets"]]
    arms = next(iter(runs[0]["targets"].values()))["arms"]
    rows = [
        [arm, *(over(run["targets"][target]["arms"][arm][key] for run in runs) for target, key in columns)]
        for arm in arms
    ]
    return table(["arm", *(target if key == "f1" else f"{target}, {key}" for target, key in columns)], rows)


def _choices(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for target, field in read_fields("targets").items():
        for strategy in STRATEGIES:
            chosen = [run["targets"][target]["chosen"][strategy] for run in runs]
            picks = "; ".join(", ".join(choice["experts"]) for choice in chosen)
            right = sum(choice["right"] for choice in chosen)
            rows.append([target, ", ".join(field.experts), strategy, picks, f"{right} of {len(runs)}"])
    return table(["target", "right", "strategy", "chosen, best first, by seed", "all right"], rows)


def _methods(runs: Sequence[Mapping[str, Any]]) -> str:
    columns = [(target, key) for target in runs[0]["targets"] for key in ("f1", "free", "valid")]
    rows = [
        [title, *(over(run["targets"][target]["methods"][title][key] for run in runs) for target, key in columns)]
        for title in METHODS
    ]
    return table(["method", *(target if key == "f1" else f"{target}, {key}" for target, key in columns)], rows)


def over(shares: Iterable[float]) -> str:
    """Mean and standard deviation over the seeds, times 100."""
    values = [100 * share for share in shares]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {spread:.1f}"


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS, help="what train.py made")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="Markdown file with the markers; standard output by default")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    results = {}
    for seed in arguments.seeds:
        kept = arguments.runs / "study" / f"{seed}.json"
        if not kept.is_file():
            pool = ExpertPool.load(arguments.runs / str(seed) / "pool")
            write_json(kept, Study(pool, arguments.runs / "data", seed).run())
        results[seed] = read_json(kept)
    text = markdown(results)
    if arguments.out:
        write_part(arguments.out, MAKER, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
