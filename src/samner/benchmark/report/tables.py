"""The tables of a report, each from the results alone, and none if there is nothing to put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from samner.benchmark.report.document import Cell, Table
from samner.benchmark.report.view import Arm, View, pretty, signed

SCORES = {"strict": "Strict span F1", "string": "UniversalNER string F1"}
"""The two scores by their names."""

_COUNTS = {
    "strict": "An entity counts by its exact start, end and type.",
    "string": "An entity counts by its normalised string, once per text and type.",
}
_KINDS: Mapping[str, Callable[[Arm], bool]] = {
    "References": lambda arm: arm.mode in ("base", "baseline", "random", "all"),
    "Single experts": lambda arm: arm.mode == "expert",
    "Selected and merged": lambda arm: not arm.ceiling and not arm.mode.startswith("ensemble"),
    "Selected experts' answers joined, unmerged": lambda arm: arm.mode.startswith("ensemble"),
    "Ceilings: experts chosen by test labels": lambda arm: arm.ceiling,
}
"""Kinds of arms, in order; the first that fits counts."""

_Rows = Sequence[Sequence[Cell]]


def _by_kind(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    found: dict[str, list[Arm]] = {title: [] for title in _KINDS}
    for arm in arms:
        found[next(title for title, fits in _KINDS.items() if fits(arm))].append(arm)
    return {title: members for title, members in found.items() if members}


def _parts(arms: Sequence[Arm], row: Callable[[Arm], Sequence[Cell]]) -> list[tuple[str, _Rows]]:
    kinds = _by_kind(arms)
    return [(title if len(kinds) > 1 else "", [row(arm) for arm in members]) for title, members in kinds.items()]


def scores(
    view: View, arms: Sequence[Arm], score: str, title: str, *, caption: str = "", folded: bool = False
) -> Table:
    """Arms x averages and targets: F1 with its interval and, with several seeds, their spread; the best marked.

    Args:
        view: The results.
        arms: Rows; under headings of their kind if they are of several.
        score: ``strict`` or ``string``.
        title: Of the table.
        caption: Said before how to read it.
        folded: See `Table`.
    """
    columns = list(view.columns.values())
    rivals = [arm for arm in arms if not arm.ceiling]
    tops = [max((round(arm.average(names, score), 1) for arm in rivals), default=-1.0) for names in columns]

    def cell(arm: Arm, names: Sequence[str], top: float) -> Cell:
        values = arm.averages(names, score)
        low, high = arm.interval(names, score)
        spread = f" \N{PLUS-MINUS SIGN} {stdev(values):.1f}" if len(values) > 1 else ""
        tone = "faint" if arm.ceiling else "best" if round(fmean(values), 1) == top else "plain"
        return Cell(f"{fmean(values):.1f}{spread}", f"[{low:.1f}, {high:.1f}]", tone)  # type: ignore[arg-type]

    def row(arm: Arm) -> list[Cell]:
        name = Cell(arm.title, f"mean of {arm.seeds} seeds" if arm.seeds > 1 else "")
        return [name, *(cell(arm, names, top) for names, top in zip(columns, tops, strict=True))]

    return Table(
        title,
        f"{caption}{' ' if caption else ''}{_COUNTS[score]} Micro-average over a target's texts, in percent; a mean "
        "counts every target the same. In brackets the 95 % interval by bootstrap over the test texts. Best of a "
        f"column in bold{', ceilings aside: they look at the labels' if len(rivals) < len(arms) else ''}.",
        ["arm", *view.columns],
        _parts(arms, row),
        folded=folded,
    )


def headline(view: View) -> Table:
    """The main arms, both scores, averaged over the targets that count."""

    def row(arm: Arm) -> list[Cell]:
        return [Cell(arm.title), *(_interval(arm, view.judged, score) for score in SCORES)]

    return Table(
        f"Mean of {len(view.judged)} targets ({view.headline})",
        "F1 in percent with its 95 % interval; every target counts the same.",
        ["arm", *SCORES.values()],
        _parts(view.main, row),
    )


def _interval(arm: Arm, names: Sequence[str], score: str) -> Cell:
    low, high = arm.interval(names, score)
    return Cell(f"{arm.average(names, score):.1f}", f"[{low:.1f}, {high:.1f}]")


def unseen(view: View) -> Table | None:
    """The main arms with and without the types that some training set names."""
    if not any("unseen" in run for runs in view.main[0].runs.values() for run in runs):
        return None
    some = [name for name in view.judged if view.target(name)["unseen"]]
    columns = {f"mean of {len(some)}": some} | {pretty(name): [name] for name in some}

    def cells(arm: Arm) -> list[Cell]:
        return [
            Cell(f"{arm.average(names, score, unseen=True):.1f}", f"of all types {arm.average(names, score):.1f}")
            for score in SCORES
            for names in columns.values()
        ]

    return Table(
        "Unseen types",
        f"F1 in percent of the types that no training set names, below it of all types; of {view.headline}.",
        ["arm", *(f"{title}, {score}" for score in SCORES for title in columns)],
        _parts(view.main, lambda arm: [Cell(arm.title), *cells(arm)]),
    )


def comparisons(view: View, score: str) -> Table | None:
    """Every comparison on every average and target: difference, interval, p-value."""
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in view.results.get("comparisons", []):
        if row["score"] == score:
            found.setdefault((row["a"], row["b"]), {})[row["target"]] = row
    if not found:
        return None
    columns = [*view.groups, *view.targets]
    rows = [
        [Cell(f"{a} \N{MINUS SIGN} {b}"), *(_difference(cells.get(name)) for name in columns)]
        for (a, b), cells in found.items()
    ]
    tests = sum(len(cells) for cells in found.values())
    return Table(
        f"Paired tests, {SCORES[score]}",
        "Difference in points, with its 95 % interval and two-sided p by paired bootstrap over the test texts; bold "
        f"where p < 0.05. The p-values are not corrected for being many: of {tests} tests without any true difference "
        f"about {0.05 * tests:.0f} would be bold.",
        ["comparison", *view.columns],
        [("", rows)],
        folded=score != "strict",
    )


def _difference(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell("")
    low, high = row["ci95"]
    p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}" if row["p"] < 0.1 else f"p = {row['p']:.2f}"
    note = f"[{signed(low)}, {signed(high)}], {p}"
    return Cell(signed(row["difference"]), note, "best" if row["p"] < 0.05 else "plain")


def published(view: View) -> Table | None:
    """The string F1 of the main arms beside figures that others published."""
    others = view.results.get("published") or []
    columns = [name for name in view.targets if any(name in other["scores"] for other in others)]
    if not columns:
        return None
    rows, theirs = [], []
    for arm in view.main:
        if arm.mode != "expert" and not arm.ceiling:
            values = [arm.average(columns, "string"), *(arm.mean(name, "string") for name in columns)]
            rows.append([Cell(arm.title), *(Cell(f"{value:.1f}") for value in values)])
    for other in others:
        given = [other["scores"].get(name) for name in columns]
        mean = None if None in given else fmean(given)
        cells = [Cell("" if value is None else f"{value:.1f}", tone="faint") for value in (mean, *given)]
        theirs.append([Cell(other["name"], other["source"], "faint"), *cells])
    return Table(
        "Beside published figures",
        f"{SCORES['string']} in percent. The lower rows were not measured here: they are published elsewhere, "
        "by others, on their own copies of the test sets and with models of other sizes: for orientation.",
        ["system", f"mean of {len(columns)}", *map(pretty, columns)],
        [("Measured here", rows), ("Published elsewhere", theirs)],
        folded=True,
    )


def chosen(view: View) -> Table | None:
    """What each strategy chose, beside what the test labels say of the experts."""
    rows = []
    for name in view.targets:
        target = view.target(name)
        picks = [
            ", ".join(
                f"{expert}\N{NO-BREAK SPACE}{target[key].get(expert, 0):.2f}" for expert in view.taken(name, key)
            )
            for key in ("similarity", "sampling")
        ]
        truth = sorted(view.singles, key=lambda expert: -view.singles[expert].mean(name))[: view.k]
        best = ", ".join(f"{expert}\N{NO-BREAK SPACE}{view.singles[expert].mean(name):.1f}" for expert in truth)
        seconds, warning = f"{target['selection_seconds']:.1f}", target.get("warning")
        note = Cell(target.get("note", ""), f"warning: {warning}" if warning else "")
        cells = [pretty(name), *picks, str(target["pseudo_labels"]), best, seconds]
        rows.append([*map(Cell, cells), note])
    return Table(
        "Experts chosen",
        "Best first. The similarity is the cosine of the domain embeddings; the sampling score is F1 against the "
        "pseudo-labels of the sample. Beside them, which nobody knows beforehand: the experts of highest strict F1 on "
        "the test texts. Seconds: both strategies together.",
        ["target", "by similarity", "by sampling", "pseudo-labels", "by test labels", "seconds", "note"],
        [("", rows)],
        words=frozenset({0, 1, 2, 4, 6}),
    )


def oracle(view: View) -> Table | None:
    """Where the strategies' choices stand among all subsets of experts of their size."""
    searched = (view.results.get("oracle") or {}).get("subsets", {})
    rows = []
    for arm in (arm for arm in view.arms.values() if arm.name in searched):
        found = [searched[arm.name][target] for target in view.judged]
        cells = [f"{100 * fmean(max(f1.values()) for f1 in found):.1f}"]
        cells += [f"{100 * fmean(fmean(f1.values()) for f1 in found):.1f}", str(len(found[0]))]
        for strategy in ("similarity", "sampling"):
            names = ["+".join(sorted(view.taken(target, strategy))) for target in view.judged]
            mine = [f1[name] for f1, name in zip(found, names, strict=True) if name in f1]
            if len(mine) < len(found):  # it chose another number of experts
                cells.append("")
                continue
            places = [1 + sum(one > own for one in f1.values()) for f1, own in zip(found, mine, strict=True)]
            cells.append(f"{100 * fmean(mine):.1f} (place {fmean(places):.1f})")
        rows.append([Cell(arm.title), *map(Cell, cells)])
    if not rows:
        return None
    return Table(
        "Every subset of experts",
        f"Mean strict F1 of {len(view.judged)} targets ({view.headline}) on the first "
        f"{view.results['oracle']['texts']} test texts, on which the best subset is searched, too: a ceiling.",
        ["oracle", "best subset", "mean of subsets", "subsets", "similarity's choice", "sampling's choice"],
        [("", rows)],
    )


def complementarity(view: View) -> Table | None:
    """Counts of gold and false entities by which strategy found them."""
    found = view.results.get("complementarity")
    if not found:
        return None
    columns = [("gold", key) for key in ("both", "similarity", "sampling", "neither")]
    columns += [("false", key) for key in ("both", "similarity", "sampling")]
    rows = [[Cell(pretty(name)), *(Cell(f"{one[a][b]:,}") for a, b in columns)] for name, one in found.items()]
    return Table(
        "Who finds what",
        "Strict; entities of the gold, and false ones, that both strategies' task models found, one alone, or none.",
        ["target", *(f"{kind}: {who}" for kind, who in columns)],
        [("", rows)],
        folded=True,
    )


def cost(view: View) -> Table:
    """What an arm costs at run time."""

    def row(arm: Arm) -> list[Cell]:
        seconds = arm.sum("seconds")
        cells = [f"{arm.average(view.judged):.1f}", f"{arm.sum('models') / len(arm.runs):.1f}"]
        cells += [f"{arm.sum('merging'):.1f}", f"{seconds:.0f}", f"{arm.sum('texts') / max(seconds, 1e-3):,.0f}"]
        return [Cell(arm.title), *map(Cell, cells)]

    return Table(
        "Cost",
        "Models that read every text (mean over targets), the seconds it took to make them ready, and those they "
        "took, one after the other, for the test texts of all targets, on the machine named below.",
        ["arm", f"strict F1, mean {view.headline}", "models", "seconds to merge", "seconds to read", "texts a second"],
        _parts([arm for arm in view.main if not arm.ceiling], row),
    )


def targets(view: View) -> Table:
    """What the targets are."""
    rows = []
    for name in view.targets:
        target = view.target(name)
        seen = [label for label in target["labels"] if label not in target["unseen"]]
        averages = ", ".join(title for title, names in view.groups.items() if name in names)
        cells = [pretty(name), f"{target['texts']:,}", f"{target['unlabelled']:,}", ", ".join(target["labels"])]
        rows.append([*map(Cell, [*cells, ", ".join(seen), averages])])
    return Table(
        "Targets",
        "Experts are selected by the unlabelled texts, none of which is among the test texts.",
        ["target", "test texts", "unlabelled texts", "entity types", "of these seen in training", "averaged in"],
        [("", rows)],
        words=frozenset({0, 3, 4, 5}),
        folded=True,
    )


def made(view: View) -> Table:
    """How the results were made."""
    results = view.results
    rows = [(name, results[name]) for name in ("command", "finished", "pool")]
    rows += [(name.replace("_", " "), value) for name, value in results["settings"].items()]
    rows += [(name, results.get(name, {})) for name in ("machine", "versions")]
    return Table(
        "How this was made",
        "",
        ["what", "value"],
        [("", [[Cell(name), Cell(_plain(value))] for name, value in rows])],
        words=frozenset({0, 1}),
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)


def pools(views: Mapping[str, View]) -> Table:
    """The arms that several pools have in common, side by side."""
    first = next(iter(views.values()))
    common = [arm for arm in first.main if all(arm.name in view.arms for view in views.values())]
    rows = [
        [
            Cell(arm.title),
            *(_interval(view.arms[arm.name], view.judged, score) for score in SCORES for view in views.values()),
        ]
        for arm in common
    ]
    return Table(
        f"Pools, mean of {len(first.judged)} targets ({first.headline})",
        "F1 in percent with its 95 % interval; every target counts the same.",
        ["arm", *(f"{title}, {score}" for score in SCORES for title in views)],
        [("", rows)],
    )
