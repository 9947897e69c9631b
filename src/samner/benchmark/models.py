"""What can read a text: the base, an expert, a baseline, a merge of experts, or the mean of merges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from samner.adaptation import task_model
from samner.backbones import BASE
from samner.cache import digest
from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.merging import merge
from samner.merging.registry import methods
from samner.pool import ExpertCard, ExpertPool


@dataclass(frozen=True, slots=True)
class Model:
    """A model by what it is made of; equal ones answer alike.

    Args:
        kind: ``base``, ``expert``, ``baseline``, ``merge`` or ``mean``.
        threshold: Score from which an entity counts.
        experts: Names with weights, in alphabetical order; of an expert or a baseline its own.
        method: Of a merge; of a baseline that is scaled, ``linear``.
        parameters: Of that method, all of them, by name.
        of: The merges that are averaged.
    """

    kind: str
    threshold: float
    experts: tuple[tuple[str, float], ...] = ()
    method: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    of: tuple[Model, ...] = ()

    @property
    def title(self) -> str:
        """For people who wait."""
        if self.of:
            return f"mean of {len(self.of)} merges"
        names = "+".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in self.experts)
        return f"{self.method} of {names}" if self.method else names or self.kind

    def key(self, checksums: Mapping[str, str]) -> Any:
        """What decides its answers, as JSON values.

        Args:
            checksums: SHA-256 of every expert's adapter by name, of a baseline's by ``baseline:name``.
        """
        prefix = "baseline:" if self.kind == "baseline" else ""
        experts = [[checksums[prefix + name], weight] for name, weight in self.experts]
        of = [model.key(checksums) for model in self.of]
        return [self.kind, self.threshold, sorted(experts), self.method, sorted(self.parameters), of]


def merged(weights: Mapping[str, float], method: str, parameters: Mapping[str, Any], threshold: float) -> Model:
    """A merge. Weights are relative: the least becomes 1, so that equal merges are equal models."""
    least = min(weights.values(), default=1.0)
    experts = tuple((name, weight / least) for name, weight in sorted(weights.items()))
    complete = methods()[method] | dict(parameters)
    return Model("merge", threshold, experts, method, tuple(sorted(complete.items())))


class Models:
    """Makes models ready to answer, one at a time: dense task vectors of all of them would fill the memory.

    Args:
        pool: Holds the experts and the backbone.
        baselines: Names of baselines that may be asked for.
    """

    def __init__(self, pool: ExpertPool, baselines: Sequence[str]) -> None:
        self.pool = pool
        cards = {name: card.files for name, card in pool.experts.items()}
        for name in baselines:
            cards[f"baseline:{name}"] = ExpertCard.read(pool.baseline_folder(name)).files
        self.checksums = {name: digest(files) for name, files in cards.items()}

    @contextmanager
    def ready(self, model: Model) -> Iterator[str]:
        """The name under which the backbone answers as this model; afterwards its task vectors are forgotten.

        Raises:
            PoolError, ModelError: If a file of an expert is missing or damaged.
        """
        backbone = self.pool.backbone
        made: list[str] = []
        try:
            if model.kind == "base":
                yield BASE
            elif model.kind == "baseline":
                name = self.pool.load_baseline(model.experts[0][0])
                if model.method:
                    folder = self.pool.baseline_folder(model.experts[0][0])
                    deltas = merge([LoraAdapter.load(folder, name)], model.method, **dict(model.parameters))
                    name = f"scaled-{digest(model.key(self.checksums))[:16]}"
                    backbone.add_task_model(name, deltas, ExpertCard.read(folder).types)
                    made.append(name)
                yield name
            elif model.kind == "expert":
                self.pool.load_experts([model.experts[0][0]])
                yield model.experts[0][0]
            else:
                types: set[str] = set()
                for part in model.of or (model,):
                    one = task_model(self.pool, dict(part.experts), part.method, dict(part.parameters))
                    made.append(one.model)
                    types.update(one.types)
                if model.of:
                    vectors = [backbone.task_vectors(name) for name in made]
                    if any(each.keys() != vectors[0].keys() for each in vectors):
                        raise SamnerError("merges over different modules have no mean")
                    name = f"mean-{digest(model.key(self.checksums))[:16]}"
                    mean = {m: torch.stack([each[m] for each in vectors]).mean(0) for m in vectors[0]}
                    backbone.add_task_model(name, mean, sorted(types))
                    made.append(name)
                yield made[-1]
        finally:
            for name in made:
                backbone.remove(name)
