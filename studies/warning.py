"""When does no expert fit, and what does ``auto`` make of it? What is known without labels, beside F1.

    python -m studies.warning src/samner/pools/builtin --data ../shared/data > runs/warning.jsonl
    python -m studies.warning --table runs/warning.jsonl

First measures, a line of JSON for each set; five groups of sets:

- ``hidden``: dev splits of the training sets, their domain's expert hidden.
- ``known``: the same with all experts; nothing should be said.
- ``renamed``: the same with their types called otherwise (``paraphrases.yaml``); nothing should be said either. These
  three decide on the rule of ``samner.selection.signals.unfamiliar``.
- ``target`` and ``wide``: test texts of the targets and of the wide sets, which choose nothing. Whether wide sets
  taught the base is for the caller to say.

Then ``--table`` prints as Markdown what was measured, whether warnings say what F1 says, what limits other training
domains would have chosen for each, and how alike a type must be to one that the base was taught to count as known.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samner.adaptation import adapt
from samner.cli.output import guarded
from samner.data import read_examples
from samner.embedding import embed_names, spread
from samner.entities import EntityType, Example
from samner.errors import SamnerError
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.selection import signals
from samner.selection.similarity import sentence_encoder_of, type_similarity
from samner.training import training_set
from studies.training_data import POOL_DATA, Datasets, domains
from studies.wordings import other_wordings, reworded

GROUPS = ("hidden", "known", "renamed", "target", "wide")
TRAINING = GROUPS[:3]
"""Those of training sets."""
POOR = 20.0
"""Strict F1 below which a user should have been warned."""

Row = Mapping[str, Any]


class Set(NamedTuple):
    """A data set as a target.

    Args:
        group: One of ``GROUPS``.
        name: Its folder.
        domain: That it is of; empty for targets.
        unlabelled: Texts to adapt to.
        scored: Texts that tell F1.
        types: To look for.
    """

    group: str
    name: str
    domain: str
    unlabelled: Sequence[str]
    scored: Sequence[Example]
    types: Sequence[EntityType]


def sets(data: Path, groups: Sequence[str], unlabelled: int, texts: int) -> Iterator[Set]:
    """The data sets of some groups."""
    known = Datasets(data)
    for group in groups:
        if group in TRAINING:
            for domain, names in domains(POOL_DATA).items():
                for name in names:
                    dev = known.examples(name, "dev")
                    read = [e.text for e in dev[:-texts]][:unlabelled]
                    types, gold = known.types(name), dev[-texts:]
                    if group == "renamed":
                        types, gold = reworded(types, gold, other_wordings())
                    yield Set(group, name, domain, read, gold, types)
            continue
        source = "unlabeled" if group == "target" else "train"
        for folder in sorted(path.parent for path in (data / group).glob("**/test.jsonl")):
            test = read_examples(folder / "test.jsonl")
            read = spread([e.text for e in read_examples(folder / f"{source}.jsonl")], unlabelled)
            name = str(folder.relative_to(data))
            yield Set(group, name, "", read, spread(test, texts), training_set(name, test).types)


def measure(pool: ExpertPool, its: Set) -> dict[str, Any]:
    """What is known of a set without labels, and the strict F1 of what is found."""
    exclude = [its.domain] if its.group == "hidden" else []
    model = adapt(pool, its.unlabelled, its.types, exclude=exclude)
    predicted = model.predict([example.text for example in its.scored])
    similar, sampled = model.selections["similarity"], model.selections["sampling"]
    cards = {expert: card for expert, card in pool.experts.items() if expert not in exclude}
    nearest = similar.ranking[0]
    known = {t for card in cards.values() for t in card.types}
    entities = [entity for answer in predicted for entity in answer]
    row = {
        "group": its.group,
        "set": its.name,
        "domain": its.domain,
        "nearest": nearest,
        "cosine": similar.cosine[nearest],
        "number": len(its.types),
        "types": float(np.mean(signals.familiarity(its.types, cards, pool.base_types))),
        "like_experts": type_similarity(its.types, cards).round(3).tolist(),
        "like_base": like_base(its.types, pool.base_types, sentence_encoder_of(cards)),
        "unknown": sum(t.name not in known for t in its.types) / len(its.types),
        "home": similar.home,
        "similarity": similar.chosen,
        "sampling": sampled.chosen,
        "agreement": max(sampled.f1.values(), default=1.0),
        "both": sum(len(e.found_by) > 1 for e in entities) / max(1, len(entities)),
        "score": float(np.mean([e.score for e in entities])) if entities else 0.0,
        "found": len(entities) / len(predicted),
        "warnings": list(dict.fromkeys((*similar.warnings, *sampled.warnings))),
        "f1": 100 * micro_f1([e.entities for e in its.scored], predicted, {t.name for t in its.types}),
    }
    model.close()
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}


def like_base(types: Sequence[EntityType], base_types: Collection[str], reference: str) -> list[float]:
    """For each type, the cosine of its name with the one most like it that the base was taught; -1 without any."""
    if not base_types:
        return [-1.0] * len(types)
    cosines = embed_names([t.name for t in types], reference) @ embed_names(sorted(base_types), reference).T
    return [round(value, 3) for value in cosines.max(axis=1).tolist()]


# -- the table --------------------------------------------------------------------------------------------------------

KINDS = {"no expert is close": "far", "no two experts agreed": "no agreement", "rests on": "few agree"}
"""What a warning begins with or says, and what the table calls it."""

NEVER = 1.01
"""Cosine that no texts have: types alone decide."""
GRID = list(itertools.product((*np.arange(0.40, 0.91, 0.02).round(2), NEVER), np.arange(0.45, 0.91, 0.02).round(2)))
"""Cosines of texts and of types that are tried for the warning that no expert is close."""
BASE_LIMITS = (NEVER, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
"""Cosines with a type of the base's that are tried for it to count; 1 is that very name, as ``familiarity`` has it."""


def said(row: Row) -> str:
    """A set's warnings in a word each."""
    return ", ".join(word for text, word in KINDS.items() if any(text in warning for warning in row["warnings"]))


def chosen(row: Row) -> str:
    """What ``auto`` asks."""
    if row["home"]:
        return f"{row['similarity'][0]} alone"
    return f"{', '.join(row['similarity'])} + {', '.join(row['sampling'])}"


def far(rows: Sequence[Row], texts: float, types: float) -> npt.NDArray[np.bool_]:
    """Which are warned of by such limits; as ``samner.selection.signals.unfamiliar`` decides."""
    return np.array(
        [not r["home"] and r["number"] > 1 and r["cosine"] < texts and r["types"] < types for r in rows], dtype=bool
    )


def counting(rows: Sequence[Row], limit: float) -> list[Row]:
    """The sets as they look if the base's types count from a cosine on."""
    counted = []
    for row in rows:
        experts, base = np.array(row["like_experts"]), np.array(row["like_base"])
        types = np.where(base >= limit, np.maximum(experts, base), experts)
        counted.append({**row, "types": float(types.mean())})
    return counted


def poor(rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
    return np.array([row["f1"] < POOR for row in rows], dtype=bool)


def wrong(rows: Sequence[Row], limits: tuple[float, float]) -> float:
    """Share of the sets that are warned of and read well, or the other way round, averaged over domains."""
    mistakes = far(rows, *limits) != poor(rows)
    names = np.array([row["domain"] for row in rows])
    return float(np.mean([mistakes[names == name].mean() for name in np.unique(names)]))


def choose(rows: Sequence[Row]) -> tuple[float, float]:
    """The limits that are wrong least often; of equals the lowest, which warn least."""
    return min(GRID, key=lambda limits: (round(wrong(rows, limits), 4), limits[1], limits[0]))


def ranked(values: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]) -> float:
    """How often a value is lower of a poor set than of another (area under the curve); 0.5 is chance."""
    below = values[bad][:, None] - values[~bad][None, :]
    return float(((below < 0) + 0.5 * (below == 0)).mean()) if below.size else float("nan")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown: the sets, then how the warnings and other signals do."""
    there = [group for group in GROUPS if any(row["group"] == group for row in rows)]
    yield "| set | nearest | cosine of texts | of types | names unknown | auto asks | warned | F1 |"
    yield "|---|---|---:|---:|---:|---|---|---:|"
    for r in rows:
        name = r["set"] + {"hidden": f", without {r['domain']}", "renamed": ", types renamed"}.get(r["group"], "")
        yield (
            f"| {name} | {r['nearest']} | {r['cosine']:.2f} | {r['types']:.2f} | {100 * r['unknown']:.0f} % "
            f"| {chosen(r)} | {said(r)} | {r['f1']:.1f} |"
        )
    yield f"\n| group | sets | F1 below {POOR:.0f} | of these far | warned | of the others far | warned | at home |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for group in there:
        its = [r for r in rows if r["group"] == group]
        bad, warned = poor(its), np.array([bool(r["warnings"]) for r in its])
        strange = np.array(["far" in said(r) for r in its])
        counts = [len(its), *((bad & some).sum() for some in (bad, strange, warned))]
        counts += [*((~bad & some).sum() for some in (strange, warned)), sum(r["home"] for r in its)]
        yield f"| {group} | {' | '.join(map(str, counts))} |"
    yield f"\n| lower where F1 is below {POOR:.0f} (0.5 is chance) | {' | '.join(there)} |"
    yield f"|---|{'---:|' * len(there)}"
    for signal in ("cosine", "types", "agreement", "both", "score", "found"):
        cells = []
        for group in there:
            its = [r for r in rows if r["group"] == group and not r["home"]]
            value = ranked(np.array([float(r[signal]) for r in its]), poor(its))
            cells.append("" if np.isnan(value) else f"{value:.2f}")
        yield f"| {signal} | {' | '.join(cells)} |"
    judged = [r for r in rows if r["group"] in TRAINING]
    if not judged:
        return
    yield "\n| domain left out | texts | types | wrong: nested | shipped |\n|---|---:|---:|---:|---:|"
    shipped = (signals.TEXTS, signals.TYPES)
    for domain in dict.fromkeys(r["domain"] for r in judged):
        limits = choose([r for r in judged if r["domain"] != domain])
        its = [r for r in judged if r["domain"] == domain]
        counts = [int((far(its, *each) != poor(its)).sum()) for each in (limits, shipped)]
        cells = [*(f"{limit:.2f}" for limit in limits), *(f"{count} of {len(its)}" for count in counts)]
        yield f"| {domain} | {' | '.join(cells)} |"
    best = choose(judged)
    yield f"\nChosen on all: {best[0]:.2f} and {best[1]:.2f}; shipped: {shipped[0]:.2f} and {shipped[1]:.2f}.\n"
    yield f"| wrong | training domains | {' | '.join(there)} |\n|---|{'---:|' * (1 + len(there))}"
    for name, limits in (("shipped", shipped), ("chosen on all", best), ("types alone", (NEVER, signals.TYPES))):
        groups = [[r for r in rows if r["group"] == group] for group in there]
        cells = [f"{int((far(its, *limits) != poor(its)).sum())} of {len(its)}" for its in groups]
        yield f"| {name} | {100 * wrong(judged, limits):.0f} % | {' | '.join(cells)} |"
    yield f"\n| the base's types count from | {' | '.join(there)} |\n|---|{'---:|' * len(there)}"
    for limit in BASE_LIMITS:
        groups = [counting([r for r in rows if r["group"] == group], limit) for group in there]
        cells = [f"{int((far(its, *shipped) != poor(its)).sum())} of {len(its)}" for its in groups]
        yield f"| {'never' if limit == NEVER else f'{limit:.2f}'} | {' | '.join(cells)} |"


def measured(file: Path) -> list[Row]:
    """What was measured, from the lines that were printed then.

    Raises:
        SamnerError: If the file holds anything else.
    """
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        list(table(rows))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise SamnerError(f"{file}: is not what this prints where it measures ({type(error).__name__})") from error
    return rows


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", nargs="?")
    parser.add_argument("--data", type=Path, help="folder that holds train/, target/ and wide/")
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--unlabelled", type=int, default=100, help="texts of each data set to adapt to")
    parser.add_argument("--texts", type=int, default=60, help="texts of each data set to score on")
    parser.add_argument("--table", type=Path, help="print what was measured, from this file")
    arguments = parser.parse_args()
    if arguments.table:
        for line in table(measured(arguments.table)):
            print(line)
        return
    if arguments.pool is None or arguments.data is None:
        parser.error("give a pool and --data, or --table")
    pool = ExpertPool.load(arguments.pool)
    for its in sets(arguments.data, arguments.groups, arguments.unlabelled, arguments.texts):
        if not its.domain or its.domain in pool.experts:
            print(json.dumps(measure(pool, its)), flush=True)


if __name__ == "__main__":
    main()
