"""The results as Markdown: scores, what was chosen, and seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from samner.evaluation.results import SCORES, Results, TargetResult
from samner.selection import Selection
from samner.task_model import STRATEGIES

_TITLES = {
    "strict": ("Strict span F1", "Exact start, end and type; micro-average over a target's texts, times 100."),
    "string": ("UniversalNER string F1", "Normalised strings, each once per text and type; times 100."),
}


def markdown(results: Results) -> str:
    """All tables, with a header that says which command made them and on what it ran."""
    parts = [_header(results)]
    parts += [_scores(results, kind) for kind in SCORES]
    parts += [_intervals(results), _chosen(results), _adapting(results), _reading(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(results: Results) -> str:
    settings = results.settings
    merge = ", ".join(f"{name} {value}" for name, value in settings["merge"].items() if name != "method")
    dates = sorted(target.finished[:10] for target in results.targets)
    lines = [
        f"Made by `{results.command}`",
        f"with the pool `{results.pool}`; seed: {settings['seed']}; experts a strategy picks: {settings['experts']}; "
        f"sample texts: {settings['samples']}; merge: {settings['merge']['method']} ({merge or 'its defaults'})",
        *dict.fromkeys(f"on {_machine(target)}" for target in results.targets),
        dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _machine(target: TargetResult) -> str:
    machine, versions = target.machine, target.versions
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{machine['cores']} CPU cores{gpu} ({machine['platform']}; torch threads: {machine['torch_threads']}); "
        f"samner {versions['samner']}, torch {versions['torch']}, Python {versions['python']}"
    )


def _scores(results: Results, kind: str) -> str:
    rows = [[target.name, *_percent([target.f1(arm, kind) for arm in results.arms])] for target in results.targets]
    for title, names in results.averages.items():
        means = _percent([results.average(title, arm, kind) for arm in results.arms])
        rows.append([f"**average, {title} ({len(names)})**", *means])
    heading, note = _TITLES[kind]
    return f"### {heading}\n\n{note} Best of a row in bold.\n\n{_table(['target', *results.arms], rows)}"


def _intervals(results: Results) -> str:
    arms = [arm for arm in ("union", *results.settings["baselines"]) if arm in results.arms]
    if not arms:
        return ""
    rows = []
    for target in results.targets:
        row = [target.name, str(target.texts)]
        for kind in SCORES:
            for arm in arms:
                low, high = target.interval(arm, kind)
                row.append(f"{100 * target.f1(arm, kind):.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        rows.append(row)
    header = ["target", "texts", *(f"{arm}, {kind}" for kind in SCORES for arm in arms)]
    note = "F1 times 100 with its 95 % interval by bootstrap over the test texts."
    return f"### Confidence intervals\n\n{note}\n\n{_table(header, rows)}"


def _chosen(results: Results) -> str:
    strategies = [name for name in STRATEGIES if name in results.targets[0].selections]
    if not strategies:
        return ""
    rows = []
    for target in results.targets:
        row, notes = [target.name], []
        for strategy in strategies:
            selection = Selection.from_dict(target.selections[strategy])
            scores = selection.f1 or selection.cosine
            row.append(", ".join(f"{name} {scores[name]:.2f}" for name in selection.chosen))
            if strategy == "sampling":
                row.append(str(len(selection.pseudo_labels)))
            notes.append(selection.note)
        rows.append([*row, "; ".join(note for note in notes if note)])
    headers = {
        "similarity": ["by similarity (cosine)"],
        "sampling": ["by sampling (F1 against the pseudo-labels)", "pseudo-labels"],
    }
    header = ["target", *(name for strategy in strategies for name in headers[strategy]), "note"]
    note = "Best first. All scores of all experts are in the JSON."
    return f"### Experts chosen\n\n{note}\n\n{_table(header, rows)}"


def _adapting(results: Results) -> str:
    first = results.targets[0].seconds
    selected, merged = list(first["selection"]), list(first["merge"])
    if not selected:
        return ""
    rows = []
    for target in results.targets:
        values = [target.seconds["selection"][name] for name in selected]
        values += [target.seconds["merge"][name] for name in merged]
        rows.append([target.name, str(target.unlabelled), *(f"{value:.2f}" for value in values)])
    titles = {"similarity": "embedding and similarity", "sampling": "sampling"}
    header = ["target", "unlabelled texts", *(titles[n] for n in selected), *(f"merge: {n}" for n in merged)]
    note = (
        "From unlabelled texts to task models. Where both strategies chose the same experts they share one task "
        f"model, so the second merge takes no time. Loading the pool took {_range(results)} s before that."
    )
    return f"### Seconds to adapt\n\n{note}\n\n{_table(header, rows)}"


def _range(results: Results) -> str:
    loads = sorted(target.seconds["load"] for target in results.targets)
    low, high = f"{loads[0]:.1f}", f"{loads[-1]:.1f}"
    return low if low == high else f"{low} to {high}"


def _reading(results: Results) -> str:
    rows = []
    for target in results.targets:
        cells = [
            f"{target.seconds['predict'][arm]:.1f} ({target.texts_per_second[arm]:.0f}/s)" for arm in results.arms
        ]
        rows.append([target.name, str(target.texts), *cells])
    note = "One model at a time, and texts a second. The union reads with each of its task models."
    return f"### Seconds to read the test texts\n\n{note}\n\n{_table(['target', 'texts', *results.arms], rows)}"


def _percent(values: Sequence[float]) -> list[str]:
    """Times 100, the best in bold."""
    shown = [f"{100 * value:.1f}" for value in values]
    best = max(shown, key=float)
    return [f"**{text}**" if text == best else text for text in shown]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is text, the rest is set flush right unless it holds words."""
    rows = list(rows)
    numeric = [all(row[i].strip("*")[:1].isdigit() for row in rows) for i in range(len(header))]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [[cell.replace("|", r"\|") for cell in cells] for cells in (header, rule, *rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
