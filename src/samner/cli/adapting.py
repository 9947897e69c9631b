"""From options to a task model, and what is said about the experts that were chosen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samner.cli.inputs import to_adapt_from
from samner.cli.output import counted, say, status, table
from samner.cli.runtime import start
from samner.entities import EntityType
from samner.errors import SamnerError

if TYPE_CHECKING:
    from rich.console import Console

    from samner.selection import Count, Selection
    from samner.task_model import TaskModel

_SHOWN = 12
"""Experts a table of selections shows, at most, beside the chosen ones."""


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
    threshold: float | None
    device: str

    def __call__(self, texts: Sequence[str], types: Sequence[EntityType]) -> TaskModel:
        """Select experts by the texts and merge them."""
        device = start(self.device)
        from samner.adaptation import adapt
        from samner.merging import make_method
        from samner.pool import ExpertPool

        make_method(self.method, dict(self.parameters))  # before the work, and before a name meets adapt's own
        pool = ExpertPool.load(self.pool, device)
        texts = to_adapt_from(texts)
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
        warn(model.warnings)
        return model


def warn(warnings: Iterable[str]) -> None:
    """Say on standard error what should be known before answers are trusted."""
    for warning in warnings:
        say(f"warning: {warning}")


def given_parameters(density: float | None, lam: float | None, params: Sequence[str]) -> dict[str, float | str]:
    """The parameters of a merge method that were given, each ``NAME=VALUE`` of ``params`` among them.

    Raises:
        SamnerError: If one is not of that form or is given twice, or it is the seed, which has an option of its own.
    """
    options = {"density": density, "lam": lam}
    parameters: dict[str, float | str] = {name: value for name, value in options.items() if value is not None}
    for param in params:
        name, equals, text = param.partition("=")
        if not name or not equals:
            raise SamnerError(f"--param must be NAME=VALUE, not {param!r}")
        if name == "seed":
            raise SamnerError("the seed is set by --seed, not by --param")
        if name in parameters:
            raise SamnerError(f"the parameter {name!r} is given twice")
        parameters[name] = _value(text)
    return parameters


def _value(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def show_selections(selections: Mapping[str, Selection], to: Console) -> None:
    """Print what each strategy chose and the scores it chose by, and anything it wants known."""
    first = next(iter(selections.values()))
    sampling = selections.get("sampling")
    columns: dict[str, Mapping[str, float]] = {"cosine": first.cosine}
    if sampling:
        columns["F1"] = sampling.f1
    picked_by = {name: [s.strategy for s in selections.values() if name in s.chosen] for name in first.ranking}
    shown = [name for place, name in enumerate(first.ranking) if place < _SHOWN or picked_by[name]]
    rows = [
        [name, *(scores[name] for scores in columns.values()), ", ".join(picked_by[name]) or "-"] for name in shown
    ]
    to.print(table(["expert", *columns, "chosen by"], rows, right=tuple(columns)))
    if hidden := len(first.ranking) - len(shown):
        to.print(f"and {counted(hidden, 'more expert')}, chosen by none")
    if sampling:
        found = f"{len(sampling.pseudo_labels)} entities in {counted(len(sampling.sample), 'sample text')}"
        votes = f", by {sampling.votes_needed} or more of {len(sampling.ranking)} experts"
        to.print(f"F1 is against {found} that experts agree on{votes if sampling.votes_needed else ''}")
    for selection in selections.values():
        if selection.note:
            to.print(f"note on {selection.strategy}: {selection.note}")


def show_merges(model: TaskModel, to: Console) -> None:
    """Print which experts each task model is merged of."""
    settings = model.settings
    how = ", ".join([settings["method"], *(f"{name} {value}" for name, value in settings["parameters"].items())])
    for name, merge in model.merges.items():
        weights = merge.experts
        equal = len(set(weights.values())) == 1
        of = ", ".join(expert if equal else f"{expert} x {weight:g}" for expert, weight in weights.items())
        to.print(f"merged for {name} ({how}): {of}")
