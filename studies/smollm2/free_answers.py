"""What experts and merges of the pool that answers in JSON write where nothing binds them, and how right that is.

    python -m studies.smollm2.free_answers --data ../shared/data --into docs/results.md

Two tables: every expert at home, on dev texts of its domain, beside the baseline of all domains and the base; and
merges by several methods on the targets of docs/smollm2_generation.yaml. What is measured of a pool is kept in
``--runs`` and not measured again.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samner.adaptation import merge_experts, merge_parameters, select
from samner.backbones import BASE
from samner.benchmark.answers import read_target
from samner.benchmark.config import read_benchmark
from samner.benchmark.report.document import check_part, write_part
from samner.cache import digest
from samner.cli.output import guarded
from samner.data import read_examples
from samner.entities import EntityType, Example
from samner.files import read_json, write_json
from samner.pool import ExpertCard, ExpertPool
from samner.scoring import span_counts, total
from samner.spans import flat
from studies.smollm2.generation import train_set
from studies.smollm2.train import DOMAINS

METHODS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "plain average": ("linear", {"lam": 1.0}),
    "TIES": ("ties", {}),
    "DARE": ("dare_linear", {}),
    "DARE and TIES": ("dare_ties", {}),
}
"""Merge methods by their names in the table, and which of their parameters are not those of the pool."""

PART = "free answers"
"""What the tables' place on a page is called."""

EXPERTS = {"three": 3, "six": len(DOMAINS)}
"""How many are merged: those whose texts are most like the target's."""

Row = Mapping[str, Any]


def measured(
    path: Path, pool: ExpertPool, model: str, examples: Sequence[Example], types: Sequence[EntityType]
) -> Row:
    """Strict F1 of a model's free answers to some texts, and how many of them were valid JSON or could be repaired."""
    if path.is_file():
        return dict(read_json(path))
    backbone = pool.backbone
    before, names = Counter(backbone.statistics.get(model, {})), {t.name for t in types}
    found = backbone.predict([e.text for e in examples], types, [model], backbone.threshold)[model]
    gold = [[entity for entity in e.entities if entity.label in names] for e in examples]
    counts = Counter(backbone.statistics[model]) - before
    row = {"f1": total(span_counts(gold, [flat(entities) for entities in found])).f1, **counts}
    write_json(path, row)
    print(f"{path.stem}: F1 {100 * row['f1']:.1f}, {row.get('valid', 0)} of {row['answers']} valid", flush=True)
    return row


def at_home(pool: ExpertPool, data: Path, texts: int, runs: Path) -> Iterator[str]:
    """A line of the table for each expert: F1 of expert, baseline and base, mean over data sets; its valid answers."""
    yield "| expert | data sets | F1: expert | unified | base | valid JSON: expert | unified | base |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    unified = pool.load_baseline("unified")
    for domain in pool.names:
        pool.load_experts([domain])
        rows: dict[str, list[Row]] = {domain: [], unified: [], BASE: []}
        for name in DOMAINS[domain]:
            examples = read_examples(data / name / "dev.jsonl")[:texts]
            for model, its in rows.items():
                path = runs / f"home-{name.replace('/', '-')}-{model.partition(':')[2] or model}.json"
                its.append(measured(path, pool, model, examples, train_set(data, name).types))
        cells = [f"{mean_f1(its):.1f}" for its in rows.values()] + [valid(its) for its in rows.values()]
        yield f"| {domain} | {len(DOMAINS[domain])} | {' | '.join(cells)} |"


def merges(pool: ExpertPool, data: Path, texts: int, runs: Path) -> Iterator[str]:
    """A line of the table for each method: F1, mean over the targets, and answers that are valid or beyond repair."""
    yield "| merged by | F1: three experts | six | valid JSON: three experts | six | unreadable: three experts | six |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    settings = read_benchmark(Path(__file__).parents[2] / "docs" / "smollm2_generation.yaml", data=data).targets
    targets = [read_target(name, target) for name, target in settings.items()]
    ranked = {t.name: select(pool, t.unlabelled, t.types, mode="similarity")["similarity"].ranking for t in targets}
    for title, (method, given) in METHODS.items():
        rows: dict[str, list[Row]] = {}
        for number, count in EXPERTS.items():
            rows[number] = []
            for target in targets:
                weights = dict.fromkeys(ranked[target.name][:count], 1.0)
                merge = merge_experts(pool, weights, method, merge_parameters(pool, method, given))
                path = runs / f"merge-{method}-{count}-{target.name}.json"
                rows[number].append(measured(path, pool, merge.model, target.test[:texts], target.types))
        lost = [f"{100 * share(its, 'unreadable'):.1f} %" for its in rows.values()]
        cells = [f"{mean_f1(its):.1f}" for its in rows.values()] + [valid(its) for its in rows.values()] + lost
        yield f"| {title} | {' | '.join(cells)} |"


def mean_f1(rows: Sequence[Row]) -> float:
    """Mean over data sets, in per cent."""
    return 100 * math.fsum(row["f1"] for row in rows) / len(rows)


def share(rows: Sequence[Row], kind: str) -> float:
    """Of all answers."""
    return float(sum(row.get(kind, 0) for row in rows) / sum(row["answers"] for row in rows))


def valid(rows: Sequence[Row]) -> str:
    """The share of valid answers, for a table."""
    return f"{100 * share(rows, 'valid'):.1f} %"


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pool", default="smollm2-generation")
    parser.add_argument("--runs", type=Path, default=Path("runs/free_answers"))
    parser.add_argument("--texts", type=int, default=20, help="of each data set, from the first")
    parser.add_argument("--into", type=Path, help="a Markdown file with a part for the tables")
    arguments = parser.parse_args()
    if arguments.into:
        check_part(arguments.into, PART)
    pool = ExpertPool.load(arguments.pool)
    backbone: Any = pool.backbone
    backbone.card = backbone.card.model_copy(update={"constrained": False})
    cards = {"unified": ExpertCard.read(pool.baseline_folder("unified")), **pool.experts}
    adapters = {name: card.files for name, card in cards.items()}
    made_of = [backbone.fingerprint, adapters, merge_parameters(pool, "ties", {}), arguments.texts]
    runs = arguments.runs / digest(made_of)[:12]
    runs.mkdir(parents=True, exist_ok=True)
    given = (pool, arguments.data, arguments.texts, runs)
    made = "\n".join([*at_home(*given), "", *merges(*given)])
    print(made)
    if arguments.into:
        write_part(arguments.into, PART, made)


if __name__ == "__main__":
    main()
