"""Let models read texts, each once: what a model answered is kept, and a longer run reads only what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from samner.benchmark.models import Model, Models
from samner.cache import Store, digest
from samner.chunking import predict_long
from samner.entities import Entity
from samner.evaluation.target import TargetTexts
from samner.spans import flat

Demands = Mapping[tuple[Model, str], int]
"""For a model and the name of a target, how many of its test texts, from the first, are to be read."""

_DIGITS = 6  # of a score that are kept: more than float32 tells apart


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model found in the first texts of a target.

    Args:
        entities: For each text, those that do not overlap.
        seconds: How long it took to read them.
    """

    entities: Sequence[Sequence[Entity]]
    seconds: float


class Reader:
    """Answers of models to the test texts of targets.

    Args:
        models: Makes models ready.
        targets: The targets by name.
        store: Where answers are kept.
    """

    def __init__(self, models: Models, targets: Mapping[str, TargetTexts], store: Store) -> None:
        self._models = models
        self._targets = targets
        self._store = store
        self._texts = {name: digest([e.text for e in target.test]) for name, target in targets.items()}
        self._known: dict[tuple[Model, str], int] = {}

    def missing(self, demands: Demands) -> int:
        """How many texts, over all models, are still to be read."""
        return sum(max(texts - self._have(*which), 0) for which, texts in demands.items())

    def read(self, demands: Demands, watch: Callable[[str, int], None]) -> None:
        """Read what is demanded and not kept: model by model, so that each is merged once for all targets.

        Args:
            demands: What is needed.
            watch: Told the title of the model that reads and how many texts it just finished.
        """
        wanted: dict[Model, dict[str, int]] = {}
        for (model, target), texts in demands.items():
            if texts > self._have(model, target):
                wanted.setdefault(model, {})[target] = texts
        for model, targets in wanted.items():
            with self._models.ready(model) as name:
                for target, texts in targets.items():
                    self._read(model, name, target, texts, partial(watch, model.title))

    def answers(self, model: Model, target: str, texts: int) -> Answers:
        """What was read: the answers to the first texts of a target.

        Raises:
            LookupError: If it was not.
        """
        kept = self._store.get("answers", self._key(model, target))
        if kept is None or len(kept["entities"]) < texts:
            raise LookupError(f"{model.title} has not read {texts} texts of {target}")
        labels, found = kept["labels"], kept["entities"]
        entities = [[Entity(start, end, labels[i], score) for start, end, i, score in one] for one in found[:texts]]
        return Answers(entities, kept["seconds"] * texts / max(len(found), 1))

    def _have(self, model: Model, target: str) -> int:
        which = (model, target)
        if which not in self._known:
            kept = self._store.get("answers", self._key(model, target))
            self._known[which] = len(kept["entities"]) if kept else 0
        return self._known[which]

    def _read(self, model: Model, name: str, target: str, texts: int, watch: Callable[[int], None]) -> None:
        source = self._targets[target]
        key = self._key(model, target)
        labels = [entity_type.name for entity_type in source.types]
        kept = self._store.get("answers", key) or {"labels": labels, "entities": [], "seconds": 0.0}
        new = [example.text for example in source.test[len(kept["entities"]) : texts]]
        start = perf_counter()
        found = predict_long(self._models.pool.backbone, new, source.types, [name], model.threshold, watch)[name]
        kept["seconds"] += perf_counter() - start
        number = {label: i for i, label in enumerate(labels)}
        kept["entities"] += [
            [[e.start, e.end, number[e.label], round(e.score, _DIGITS)] for e in flat(entities)] for entities in found
        ]
        self._store.put("answers", key, kept)
        self._known[model, target] = texts

    def _key(self, model: Model, target: str) -> list[object]:
        types = [entity_type.prompt for entity_type in self._targets[target].types]
        return [model.key(self._models.checksums), self._texts[target], types]
