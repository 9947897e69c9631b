"""``samner adapt``: a task model for a domain, saved as a folder; and what is said about the chosen experts."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samner.cli import options
from samner.cli.options import Thresholds, check_output_folder, given_parameters, labels_needed, texts_of
from samner.cli.output import console, counted, say, status, table, write_json
from samner.cli.runtime import start
from samner.entities import EntityType
from samner.thresholds import ThresholdLike

if TYPE_CHECKING:
    from rich.console import Console

    from samner.selection import Count, Selection
    from samner.task_model import TaskModel

_SHOWN = 12
"""Experts a table of selections shows, at most, beside the chosen ones."""


def adapt(
    texts: options.Texts,
    out: options.OutFolder,
    pool: options.Pool = options.DEFAULT_POOL,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    mode: options.Mode = "union",
    threshold: options.Threshold = None,
    experts: options.Experts = "auto",
    samples: options.Samples = 10,
    seed: options.Seed = 0,
    exclude: options.Exclude = None,
    method: options.Method = "ties",
    density: options.Density = None,
    lam: options.Lam = None,
    param: options.Params = None,
    format: options.Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Adapt a pool to a domain, from unlabelled texts and labels, and save the model.

    The experts that fit the texts are selected and merged; nothing is trained. A few hundred texts are plenty.

    Example: samner adapt --labels drug,disease texts.jsonl -o my-domain
    """
    check_output_folder(out)
    types = labels_needed(labels, labels_file)
    limits = Thresholds.given(threshold).of([t.name for t in types])
    read = texts_of(texts, format)
    parameters = given_parameters(density, lam, param or ())
    adaptation = Adaptation(pool, mode, experts, samples, seed, exclude or (), method, parameters, limits, device)
    model = adaptation(read, types)
    with status("saving the model"):
        model.save(out)
    if json:
        write_json(
            {
                "model": str(out),
                "mode": model.mode,
                "labels": [{"name": t.name, "description": t.description} for t in model.types],
                "threshold": model.threshold,
                "thresholds": dict(model.thresholds),
                "settings": dict(model.settings),
                "merges": {name: dict(merge.experts) for name, merge in model.merges.items()},
                "selections": {name: selection.to_dict() for name, selection in model.selections.items()},
                "warnings": list(model.warnings),
            }
        )
    else:
        show_selections(model.selections, console())
        show_merges(model, console())
    say(f"wrote {out}; next: samner extract --model {shlex.quote(str(out))} TEXTS -o FILE")


@dataclass(frozen=True, slots=True)
class Adaptation:
    """The options by which ``adapt`` and ``extract`` adapt a pool; the fields are named as in ``samner.adapt``."""

    pool: str
    mode: str
    experts: Count
    samples: int
    seed: int
    exclude: Sequence[str]
    method: str
    parameters: Mapping[str, Any]
    threshold: ThresholdLike | None
    device: str

    def __call__(self, texts: Sequence[str], types: Sequence[EntityType]) -> TaskModel:
        """Select experts by the texts and merge them."""
        device = start(self.device)
        from samner.adaptation import adapt
        from samner.merging import make_method
        from samner.pool import ExpertPool

        make_method(self.method, dict(self.parameters))  # before the work, and before a name meets adapt's own
        pool = ExpertPool.load(self.pool, device)
        started = time.monotonic()
        with status("selecting and merging experts"):
            model = adapt(
                pool,
                texts,
                types,
                mode=self.mode,
                experts=self.experts,
                samples=self.samples,
                seed=self.seed,
                method=self.method,
                threshold=self.threshold,
                exclude=self.exclude,
                **self.parameters,
            )
        say(f"adapted {self.pool} to {counted(len(types), 'label')} in {time.monotonic() - started:.1f} s")
        if hint := better_pool(self.pool):
            say(hint)
        warn(model.warnings)
        return model


def better_pool(pool: str) -> str | None:
    """What to say to who uses the fast pool because the language model of the better one is missing."""
    from samner.pools import SHIPPED
    from samner.references import find

    best = next(iter(SHIPPED))
    needed = SHIPPED[best].needs
    if pool not in SHIPPED or pool == best or needed is None or find(needed):
        return None
    return f"the pool {best} finds more and is slower; its language model is missing: samner pool fetch {best}"


def warn(warnings: Iterable[str]) -> None:
    """Say on standard error what should be known before answers are trusted."""
    for warning in warnings:
        say(f"warning: {warning}")


def show_selections(selections: Mapping[str, Selection], to: Console) -> None:
    """Print what each strategy chose and the scores it chose by, and anything it wants known."""
    first = next(iter(selections.values()))
    if first.home:  # no strategy was asked
        selections = {"texts and types": first}
    sampling = selections.get("sampling")
    columns: dict[str, Mapping[str, float]] = {"cosine": first.cosine}
    if sampling:
        columns["F1"] = sampling.f1
    picked_by = {name: [how for how, s in selections.items() if name in s.chosen] for name in first.ranking}
    shown = [name for place, name in enumerate(first.ranking) if place < _SHOWN or picked_by[name]]
    rows = [
        [name, *(scores.get(name, "-") for scores in columns.values()), ", ".join(picked_by[name]) or "-"]
        for name in shown
    ]
    to.print(table(["expert", *columns, "chosen by"], rows, right=tuple(columns)))
    if hidden := len(first.ranking) - len(shown):
        to.print(f"and {counted(hidden, 'more expert')}, chosen by none")
    if sampling:
        found = f"{counted(len(sampling.pseudo_labels), 'entity')} in {counted(len(sampling.sample), 'sample text')}"
        votes = f", by {sampling.votes_needed} or more of {len(sampling.ranking)} experts"
        to.print(f"F1 is against {found} that experts agree on{votes if sampling.votes_needed else ''}")
    for how, selection in selections.items():
        if selection.note:
            to.print(f"note on {how}: {selection.note}")


def show_merges(model: TaskModel, to: Console) -> None:
    """Print which experts each task model is merged of."""
    settings = model.settings
    how = ", ".join([settings["method"], *(f"{name} {value}" for name, value in settings["parameters"].items())])
    for name, merge in model.merges.items():
        weights = merge.experts
        equal = len(set(weights.values())) == 1
        of = ", ".join(expert if equal else f"{expert} x {weight:g}" for expert, weight in weights.items())
        to.print(f"merged for {name} ({how}): {of}")
