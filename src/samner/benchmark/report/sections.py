"""The order of a report: what was found, then the evidence, then how it was made."""

from __future__ import annotations

from samner.benchmark.report import findings, tables
from samner.benchmark.report.blocks import Plot, Section, Table, slug
from samner.benchmark.report.plots import bars, curves, forest, found, heatmap
from samner.benchmark.report.plots.strips import strip
from samner.benchmark.report.view import Arm, View

_DEFAULTS = {"scope": "global", "encoder": "minilm"}
"""What an arm has that does not say it; the merge method's is in the settings."""

_TITLES = {
    "k": "Number of experts",
    "samples": "Texts sampled",
    "method": "Merge methods",
    "density": "Density",
    "lam": "Scale of the merge",
    "scope": "Trimming globally or by tensor",
    "encoder": "Text encoder of the similarity",
    "beyond": "Rules beyond the paper",
}
"""Groups of arms beside the main one."""

_COMBINED = (
    "similarity",
    "sampling",
    "intersection",
    "economy",
    "economy-unweighted",
    "economy-common",
    "economy-average",
    "ensemble-union",
    "ensemble-majority",
)


def sections(view: View) -> list[Section]:
    """All parts that have something to show."""
    made = [
        *_findings(view),
        Section("Scores", blocks=_present(bars.domain_bars(view), *_scores(view))),
        Section(
            "Paired comparisons",
            blocks=_present(forest.differences(view), *(tables.comparisons(view, score) for score in tables.SCORES)),
        ),
        Section("Published figures", blocks=_present(tables.published(view))),
        Section("Selection", blocks=_present(heatmap.expert_heatmap(view), tables.chosen(view))),
        Section("Combining the two strategies", blocks=_present(*_combining(view))),
        *(Section(title, blocks=_present(*blocks)) for title, blocks in _ablations(view).items()),
        Section("Cost", blocks=_present(tables.cost(view))),
    ]
    own = Section("Method", blocks=[tables.run(view), tables.targets(view)])
    return [*(one for one in made if one.blocks or one.findings), own]


def _present(*blocks: Table | Plot | None) -> list[Table | Plot]:
    return [block for block in blocks if block is not None]


def _findings(view: View) -> list[Section]:
    intro = (
        f"Computed from the results, for the mean of the {len(view.judged)} targets called {view.headline}; "
        "strict span F1 in percent unless said otherwise."
    )
    return [Section("Goals", intro, findings.goals(view)), Section("Where the points are", "", findings.facts(view))]


def _scores(view: View) -> list[Table | Plot | None]:
    main = view.group("main")
    if not main:
        return []
    strict, string = (tables.scores(view, main, score, name) for score, (name, _) in tables.SCORES.items())
    intervals = [tables.intervals(view, score) for score in tables.SCORES]
    return [strict, string, *intervals, found.precision_recall(view), tables.ratios(view)]


def _combining(view: View) -> list[Table | Plot | None]:
    plot = None
    if view.sam:
        hint = "Left of 0 the union is better."
        plot = strip(view, "combining", "Ways to combine what was selected", view.sam, view.named(*_COMBINED), hint)
    return [plot, found.complementarity(view), tables.complementarity(view)]


def _ablations(view: View) -> dict[str, list[Table | Plot | None]]:
    """Title of a section to what is in it."""
    others = dict.fromkeys(arm.group for arm in view.arms.values() if arm.group not in (*_TITLES, "main"))
    made: dict[str, list[Table | Plot | None]] = {
        "Number of experts": [curves.k_curve(view), _table(view, "k")],
        "Sample size": [curves.samples_curve(view), _table(view, "samples")],
        "Merging": [
            *_strips(view, "method"),
            *_strips(view, "scope"),
            curves.parameter_curves(view),
            *(_table(view, group) for group in ("method", "scope", "density", "lam")),
        ],
        "Text encoder": [*_strips(view, "encoder"), _table(view, "encoder")],
        "Beyond the paper": [*_strips(view, "beyond"), _table(view, "beyond")],
    }
    for group in others:
        if any(not arm.ceiling for arm in view.group(group)):
            made[group.capitalize()] = [*_strips(view, group), _table(view, group)]
    return made


def _strips(view: View, group: str) -> list[Plot | None]:
    """One plot for each series of a group: its arms against the default among them, or against the main arm."""
    default = view.results["settings"]["merge"]["method"] if group == "method" else _DEFAULTS.get(group)
    made = []
    series: dict[str, list[Arm]] = {}
    for arm in view.group(group):
        if not arm.ceiling:
            series.setdefault(arm.series if arm.x is not None else "", []).append(arm)
    for name, arms in series.items():
        usual = [arm for arm in arms if default is not None and arm.settings.get(group, default) == default]
        reference = next(iter(usual), view.sam)
        if reference is None:
            continue
        title = _TITLES.get(group, group.capitalize()) + (f" ({name})" if name else "")
        made.append(strip(view, "-".join(filter(None, [group, slug(name)])), title, reference, arms))
    return made


def _table(view: View, group: str) -> Table | None:
    arms = view.group(group)
    if not arms:
        return None
    if group == "beyond" and view.sam and view.comparable(view.sam, arms[0]):
        arms = [view.sam, *arms]
    title = f"{_TITLES.get(group, group.capitalize())}, strict span F1"
    caption = f"Measured on {curves.texts_read(view, arms[0])}."
    return tables.scores(view, arms, "strict", title, caption=caption, folded=group != "beyond")
