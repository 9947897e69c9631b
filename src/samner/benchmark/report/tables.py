"""The tables of a report, each from the results alone, and none if there is nothing to put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from samner.benchmark.report.blocks import Cell, Rows, Table
from samner.benchmark.report.view import Arm, View, best, pretty, signed

SCORES = {
    "strict": ("strict span F1", "Exact start, end and type."),
    "string": ("UniversalNER string F1", "Normalised strings, each once per text and type."),
}
"""The two scores: their names and what counts."""

KINDS: Mapping[str, Callable[[Arm], bool]] = {
    "References": lambda arm: arm.mode in ("base", "baseline", "random", "all") or arm.name == "unified",
    "Single experts": lambda arm: arm.mode == "expert",
    "Predictions of the selected experts joined, unmerged": lambda arm: arm.mode.startswith("ensemble"),
    "Ceilings: experts chosen by test labels": lambda arm: arm.ceiling,
    "Selected and merged": lambda arm: True,
}
"""Kinds of main arms; the first that fits counts."""

_ORDER = (
    "References",
    "Single experts",
    "Selected and merged",
    "Predictions of the selected experts joined, unmerged",
    "Ceilings: experts chosen by test labels",
)


def by_kind(arms: Iterable[Arm]) -> dict[str, list[Arm]]:
    """Main arms under the heading of their kind."""
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(next(title for title, fits in KINDS.items() if fits(arm)), []).append(arm)
    return {title: found[title] for title in _ORDER if title in found}


def scores(
    view: View, arms: Sequence[Arm], score: str, title: str, *, caption: str = "", folded: bool = False
) -> Table:
    """Arms x targets and averages: F1, the best of a column marked.

    Args:
        view: The results.
        arms: Rows; under headings of their kind if they are of several.
        score: ``strict`` or ``string``.
        title: Of the table.
        caption: Said before how to read it.
        folded: See `Table`.
    """
    columns = _columns(view)
    values = {arm.name: [arm.average(names, score) for names in columns] for arm in arms}
    rivals = [arm for arm in arms if not arm.ceiling]
    tops = [max((round(values[arm.name][j], 1) for arm in rivals), default=-1.0) for j in range(len(columns))]
    kinds = by_kind(arms)
    parts = []
    for kind, members in kinds.items():
        rows = []
        for arm in members:
            cells = [
                Cell(f"{v:.1f}", "faint" if arm.ceiling else "best" if round(v, 1) == top else "plain")
                for v, top in zip(values[arm.name], tops, strict=True)
            ]
            rows.append([Cell(arm.title, note=f"mean of {arm.seeds} seeds" if arm.seeds > 1 else ""), *cells])
        parts.append(Rows(kind if len(kinds) > 1 else "", rows))
    ceilings = " Ceilings do not compete: they look at the labels." if len(rivals) < len(arms) else ""
    return Table(
        title[:1].upper() + title[1:],
        f"{caption}{' ' if caption else ''}{SCORES[score][1]} Micro-average over a target's texts, in percent; a mean "
        f"counts every target the same. Best of a column in bold.{ceilings}",
        ["arm", *columns_of(view)],
        parts,
        folded=folded,
    )


def columns_of(view: View) -> list[str]:
    """Names of the averages and targets."""
    return [*(f"mean {title} ({len(names)})" for title, names in view.groups.items()), *map(pretty, view.targets)]


def _columns(view: View) -> list[list[str]]:
    """The targets that each column averages over."""
    return [*view.groups.values(), *([name] for name in view.targets)]


def intervals(view: View, score: str) -> Table:
    """The main arms with 95 % intervals, and the spread over seeds."""
    rows = []
    for arm in view.methods():
        cells = [
            _interval(arm.averages(names, score), *arm.average_interval(names, score)) for names in _columns(view)
        ]
        rows.append([Cell(arm.title, note=f"{arm.seeds} seeds" if arm.seeds > 1 else ""), *cells])
    return Table(
        f"Confidence intervals, {SCORES[score][0]}",
        "F1 with its 95 % interval by bootstrap over the test texts; of an average by adding the variances of "
        "its targets, "
        "of an arm with several seeds the mean of their intervals, and after \N{PLUS-MINUS SIGN} the standard "
        "deviation between seeds. Arms are measured on the same texts, so two intervals may overlap and yet the "
        "difference be sure: see the paired tests.",
        ["arm", *columns_of(view)],
        [Rows("", rows)],
        folded=True,
    )


def _interval(values: Sequence[float], low: float, high: float) -> Cell:
    spread = f" \N{PLUS-MINUS SIGN} {stdev(values):.1f}" if len(values) > 1 else ""
    return Cell(f"{fmean(values):.1f}{spread}", note=f"[{low:.1f}, {high:.1f}]")


def ratios(view: View) -> Table:
    """Precision and recall of the main arms."""
    columns = _columns(view)
    rows = []
    for arm in view.methods():
        pairs = [[arm.average(names, "strict", what) for what in ("precision", "recall")] for names in columns]
        rows.append([Cell(arm.title), *(Cell(f"{p:.1f} / {r:.1f}") for p, r in pairs)])
    return Table(
        "Precision / recall",
        "Strict, in percent; a mean counts every target the same.",
        ["arm", *columns_of(view)],
        [Rows("", rows)],
        folded=True,
    )


def comparisons(view: View, score: str) -> Table | None:
    """Every comparison on every target: difference, interval, p-value."""
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
        f"Paired tests, {SCORES[score][0]}",
        "Difference in F1 points, with its 95 % interval and two-sided p by paired bootstrap over the test "
        "texts. In bold "
        f"where p < 0.05. The p-values are not corrected for being many: of {tests} tests without any true difference "
        f"about {0.05 * tests:.0f} would be bold.",
        ["comparison", *columns_of(view)],
        [Rows("", rows)],
        folded=score != "strict",
    )


def _difference(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell("")
    low, high = row["ci95"]
    p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.3f}" if row["p"] < 0.1 else f"p = {row['p']:.2f}"
    note = f"[{signed(low)}, {signed(high)}]\n{p}"
    return Cell(signed(row["difference"]), "best" if row["p"] < 0.05 else "plain", note)


def published(view: View) -> Table | None:
    """Our string F1 beside figures that others published."""
    others = view.results.get("published") or []
    columns = [name for name in view.targets if any(name in other["scores"] for other in others)]
    if not columns:
        return None
    methods = view.methods()
    top = [best(methods, lambda arm: arm.average(columns, "string"))] if methods else []
    rows = []
    for arm in dict.fromkeys([arm.name for arm in [*view.named("base", "unified", "union", "economy"), *top]]):
        values = [view.arms[arm].mean(name, "string") for name in columns]
        rows.append([Cell(view.arms[arm].title), *(Cell(f"{v:.1f}") for v in [fmean(values), *values])])
    theirs = []
    for other in others:
        given = {name: other["scores"][name] for name in columns if name in other["scores"]}
        mean = fmean(given.values()) if len(given) == len(columns) else None
        shown = [mean, *(given.get(name) for name in columns)]
        cells = [Cell("" if value is None else f"{value:.1f}", "faint") for value in shown]
        theirs.append([Cell(other["name"], "faint", other["source"]), *cells])
    header = ["system", f"mean of {len(columns)}", *map(pretty, columns)]
    return Table(
        "Beside published zero-shot figures",
        "String F1 in percent. The lower rows were not measured here: they are published elsewhere, by others, "
        "on their own copies of the test sets and with models of other sizes, and serve for orientation alone.",
        header,
        [Rows("Measured here", rows), Rows("Published elsewhere", theirs)],
    )


def targets(view: View) -> Table:
    """What the targets are."""
    rows = []
    for name in view.targets:
        target = view.target(name)
        groups = ", ".join(title for title, names in view.groups.items() if name in names)
        cells = [f"{target['texts']:,}", f"{target['unlabelled']:,}", ", ".join(target["labels"]), groups]
        rows.append([Cell(pretty(name)), *map(Cell, cells)])
    return Table(
        "Targets",
        "None of the unlabelled texts, which experts are selected by, is among the test texts.",
        ["target", "test texts", "unlabelled texts", "entity types", "averaged in"],
        [Rows("", rows)],
        words=frozenset({0, 3, 4}),
        folded=True,
    )


def chosen(view: View) -> Table | None:
    """What each strategy chose, beside what the test labels say of the experts."""
    singles = {arm.settings.get("name", arm.name): arm for arm in view.group("main") if arm.mode == "expert"}
    rows = []
    for name in view.targets:
        target = view.target(name)
        if not target.get("similarity") and not target.get("sampling"):
            continue
        truth = sorted(singles, key=lambda expert: -singles[expert].mean(name))[: view.k]
        told = target.get("note", "")
        warning = target.get("warning", "")
        rows.append(
            [
                Cell(pretty(name)),
                Cell(_named(view, target.get("similarity", {}), _taken(view, name, "similarity"))),
                Cell(_named(view, target.get("sampling", {}), _taken(view, name, "sampling"))),
                Cell(str(target.get("pseudo_labels", ""))),
                Cell(", ".join(f"{expert}\N{NO-BREAK SPACE}{singles[expert].mean(name):.1f}" for expert in truth)),
                Cell(told, note=f"warning: {warning}" if warning else ""),
            ]
        )
    if not rows:
        return None
    return Table(
        "Experts chosen",
        "Best first. The similarity is the cosine of the domain embeddings; the sampling score is F1 against the "
        "pseudo-labels of the sample. Beside them, which nobody knows beforehand: the experts with the highest "
        "strict F1 on the test texts.",
        ["target", "by similarity", "by sampling", "pseudo-labels", "by test labels", "note"],
        [Rows("", rows)],
        words=frozenset({0, 1, 2, 4, 5}),
    )


def _taken(view: View, target: str, strategy: str) -> list[str]:
    """The experts of a strategy: those in the arms' task models, else the k highest."""
    for arm in view.named("union", strategy):
        found = arm.runs[target][0].get("experts", {})
        if strategy in found:
            return list(found[strategy])
    return view.ranking(target, strategy)[: view.k]


def _named(view: View, known: Mapping[str, float], names: Sequence[str]) -> str:
    ordered = sorted(names, key=lambda name: -known.get(name, 0.0))
    return ", ".join(f"{name}\N{NO-BREAK SPACE}{known[name]:.2f}" if name in known else name for name in ordered)


def complementarity(view: View) -> Table | None:
    """Counts of gold and false entities by which strategy found them."""
    found = view.complementarity
    if not found:
        return None
    gold, false = ("both", "similarity", "sampling", "neither"), ("both", "similarity", "sampling")
    rows = [
        [Cell(pretty(name)), *(Cell(f"{one['gold'][key]:,}") for key in gold),
         *(Cell(f"{one['false'][key]:,}") for key in false)]
        for name, one in found.items()
    ]  # fmt: skip
    header = [f"gold: {_ALONE[key]}" for key in gold] + [f"false: {_ALONE[key]}" for key in false]
    return Table(
        "Who finds what",
        "Strict; entities in the gold found by both strategies' task models, by one alone, by none; and "
        "entities that are not in the gold.",
        ["target", *header],
        [Rows("", rows)],
        folded=True,
    )


_ALONE = {"both": "both", "similarity": "similarity alone", "sampling": "sampling alone", "neither": "neither"}


def cost(view: View) -> Table | None:
    """What an arm costs at run time."""
    arms = [arm for arm in view.methods() if arm.mode != "expert"]
    if not arms:
        return None
    rows = []
    for arm in arms:
        seconds = sum(fmean(run["seconds"] for run in arm.runs[name]) for name in view.targets)
        models = fmean(run["models"] for name in view.targets for run in arm.runs[name])
        texts = sum(_texts(view, arm, name) for name in view.targets)
        cells = [
            f"{arm.average(view.judged):.1f}",
            f"{models:.1f}",
            f"{seconds:.0f}",
            f"{texts / max(seconds, 1e-3):,.0f}",
        ]
        rows.append([Cell(arm.title), *map(Cell, cells)])
    return Table(
        "Cost of reading",
        "Models that read every text (mean over targets), and the seconds they take one after the other for the "
        "test texts "
        "of all targets, on the machine named under Method. Selecting and merging, once for each target, are "
        "not in it.",
        ["arm", f"strict F1, mean {view.headline}", "models", "seconds", "texts a second"],
        [Rows("", rows)],
    )


def _texts(view: View, arm: Arm, target: str) -> int:
    return int(arm.runs[target][0].get("texts", view.target(target)["texts"]))


def run(view: View) -> Table:
    """How the results were made."""
    results = view.results
    machine, versions = results.get("machine", {}), results.get("versions", {})
    settings = results["settings"]
    rows = [
        ("command", results["command"]),
        ("finished", results["finished"]),
        ("pool", f"{results['pool']}: {', '.join(view.experts)}" if view.experts else results["pool"]),
        *((name.replace("_", " "), _plain(value)) for name, value in settings.items()),
        ("machine", _plain(machine)),
        ("versions", _plain(versions)),
    ]
    oracle = results.get("oracle") or {}
    if "texts" in oracle:
        rows.append(("oracle", f"searches on the first {oracle['texts']} test texts of each target"))
    return Table(
        "How this was made",
        "",
        ["what", "value"],
        [Rows("", [[Cell(name), Cell(str(value))] for name, value in rows])],
        words=frozenset({0, 1}),
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)
