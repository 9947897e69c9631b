"""Let models read a target's test texts, each once: what was answered is kept, and a longer run reads what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from samner.backbones import BASE, is_server, usable_device
from samner.benchmark.config import TargetSettings
from samner.cache import Cache, digest
from samner.data import read_gold, read_texts
from samner.data.validation import declines
from samner.entities import Entity, EntityType, Example
from samner.errors import SamnerError
from samner.files import sha256
from samner.lora import LoraAdapter
from samner.merging import MergedDeltas
from samner.pool import ExpertCard, ExpertPool
from samner.pool.card import CARD
from samner.precision import precision
from samner.scoring import scored_labels
from samner.spans import flat
from samner.task_model import versions

_REVISION = 4
"""Raise it when something kept is computed otherwise than before."""

_DIGITS = 6  # of a score that are kept: more than float32 tells apart


@dataclass(frozen=True)
class TargetTexts:
    """What is read of a target.

    Args:
        name: Of the target.
        test: Texts with their true entities.
        unlabelled: Texts to adapt to.
        types: Those that occur in the test set and are scored, in alphabetical order.
        unseen: Names of those that no training set names; all, as far as is known.
    """

    name: str
    test: Sequence[Example]
    unlabelled: Sequence[str]
    types: tuple[EntityType, ...]
    unseen: frozenset[str]

    @cached_property
    def scored(self) -> list[list[Entity]]:
        """The true entities of every test text, of the types that are scored."""
        names = {entity_type.name for entity_type in self.types}
        return [[entity for entity in example.entities if entity.label in names] for example in self.test]


def read_target(name: str, target: TargetSettings) -> TargetTexts:
    """Read a target's files.

    Raises:
        DataError: If a file is not as its format wants it.
        SamnerError: If nothing that is scored is labelled in the test set, or a seen type does not occur there.
    """
    test = [example for example in read_gold(target.test) if not declines(example.meta)]
    labels = sorted({label for example in test for label in example.labels()})
    if not labels:
        raise SamnerError(f"{target.test}: no text whose labels count has an entity, so there is nothing to score")
    if unknown := [name for name in target.seen_types if name not in labels]:
        raise SamnerError(f"targets.{name}.seen_types: {unknown[0]!r} does not occur in {target.test}")
    try:
        types = scored_labels(labels)
    except SamnerError as error:
        raise SamnerError(f"{target.test}: {error}") from error
    unseen = frozenset(t.name for t in types).difference(target.seen_types)
    return TargetTexts(name, test, read_texts(target.unlabeled), types, unseen)


@dataclass(frozen=True, slots=True)
class Model:
    """What can read a text, by what it is made of; equal ones answer alike.

    Args:
        kind: ``base``, ``expert``, ``baseline``, ``merge`` or ``mean``.
        threshold: Score from which an entity counts.
        experts: Names with weights, in alphabetical order; of an expert or a baseline its own.
        method: Of a merge; of a baseline that is scaled, ``linear``.
        parameters: Of that method, by name.
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


Demands = Mapping[tuple[Model, str], int]
"""For a model and the name of a target, how many of its test texts, from the first, are to be read."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model found in the first texts of a target.

    Args:
        entities: For each text, those that do not overlap.
        seconds: How long it took to read them.
        merging: How long it took to make the model.
    """

    entities: Sequence[Sequence[Entity]]
    seconds: float
    merging: float


class Reader:
    """Answers of a pool's models to the test texts of targets. Models are made ready one at a time, to save memory.

    Args:
        pool: The experts and their base.
        baselines: Names of baselines that may be asked for.
        targets: The targets by name.
        cache: Where answers are kept.

    Raises:
        PoolError: If there is no such baseline.
    """

    def __init__(
        self, pool: ExpertPool, baselines: Sequence[str], targets: Mapping[str, TargetTexts], cache: Cache
    ) -> None:
        self._pool = pool
        self._targets = targets
        self._cache = cache
        self._texts = {name: digest([e.text for e in target.test]) for name, target in targets.items()}
        self._cards = {("expert", name): card for name, card in pool.experts.items()}
        self._cards |= {("baseline", name): ExpertCard.read(pool.baseline_folder(name)) for name in baselines}
        # what is in neither a model's key nor the texts' decides as well; base.json says what counts as found
        base = (pool.backbone.fingerprint, sha256(pool.base_folder / "base.json"))
        format = None if is_server(pool.device) else precision(usable_device(pool.device))
        self._base = [_REVISION, *base, versions(), format]
        self._known: dict[tuple[Model, str], int] = {}

    def kept(self, namespace: str, key: Any) -> Any | None:
        """What ``keep`` was given under a key with this pool; of another pool's files it does not know."""
        return self._cache.get(namespace, [self._base, self._pool.merge, self._checksums, key])

    def keep(self, namespace: str, key: Any, value: Any) -> None:
        """Keep JSON values that the whole pool and a key decide."""
        self._cache.put(namespace, [self._base, self._pool.merge, self._checksums, key], value)

    @cached_property
    def _checksums(self) -> list[Any]:
        cards = [(key, card) for key, card in self._cards.items() if key[0] == "expert"]
        # a card says of an expert what selection goes by: its types, and where its texts lie
        return [[name, sha256(self._pool.expert_folder(name) / CARD), card.files] for (_, name), card in cards]

    def missing(self, demands: Demands) -> int:
        """How many texts, over all models, are still to be read."""
        return sum(max(texts - self._have(*which), 0) for which, texts in demands.items())

    def read(self, demands: Demands, advance: Callable[[int, str], None]) -> None:
        """Read what is demanded and not kept: model by model, so that each is merged once for all targets.

        Args:
            demands: What is needed.
            advance: Told how many texts were just finished, and the title of the model that reads.
        """
        wanted: dict[Model, dict[str, int]] = {}
        for (model, target), texts in demands.items():
            if texts > self._have(model, target):
                wanted.setdefault(model, {})[target] = texts
        for model, targets in wanted.items():
            begun = perf_counter()
            with self._ready(model) as name:
                merging = perf_counter() - begun
                for target, texts in targets.items():
                    self._read(model, name, target, texts, merging, lambda n: advance(n, model.title))  # noqa: B023

    def answers(self, model: Model, target: str, texts: int) -> Answers:
        """What was read: the answers to the first texts of a target.

        Raises:
            LookupError: If it was not.
        """
        kept = self._cache.get("answers", self._key(model, target))
        if kept is None or len(kept["entities"]) < texts:
            raise LookupError(f"{model.title} has not read {texts} texts of {target}")
        labels, found = kept["labels"], kept["entities"]
        entities = [[Entity(start, end, labels[i], score) for start, end, i, score in one] for one in found[:texts]]
        return Answers(entities, kept["seconds"] * texts / max(len(found), 1), kept["merging"])

    def _have(self, model: Model, target: str) -> int:
        which = (model, target)
        if which not in self._known:
            kept = self._cache.get("answers", self._key(model, target))
            self._known[which] = len(kept["entities"]) if kept else 0
        return self._known[which]

    def _read(
        self, model: Model, name: str, target: str, texts: int, merging: float, advance: Callable[[int], None]
    ) -> None:
        source, key = self._targets[target], self._key(model, target)
        labels = [entity_type.name for entity_type in source.types]
        kept = self._cache.get("answers", key) or {"labels": labels, "entities": [], "seconds": 0.0}
        new = [example.text for example in source.test[len(kept["entities"]) : texts]]
        begun = perf_counter()
        found = self._pool.backbone.predict(new, source.types, [name], model.threshold, advance)[name]
        kept["seconds"] += perf_counter() - begun
        kept["merging"] = merging
        number = {label: i for i, label in enumerate(labels)}
        kept["entities"] += [
            [[e.start, e.end, number[e.label], round(e.score, _DIGITS)] for e in flat(entities)] for entities in found
        ]
        self._cache.put("answers", key, kept)
        self._known[model, target] = texts

    def _key(self, model: Model, target: str) -> list[object]:
        prompts = [entity_type.prompt for entity_type in self._targets[target].types]
        return [self._base, self._decides(model), self._texts[target], prompts]

    def _decides(self, model: Model) -> list[Any]:
        """What of a model decides its answers: files go by their checksums, so that names make no difference."""
        kind = "baseline" if model.kind == "baseline" else "expert"
        experts = sorted([digest(self._cards[kind, name].files), weight] for name, weight in model.experts)
        of = [self._decides(part) for part in model.of]
        return [model.kind, model.threshold, experts, model.method, sorted(model.parameters), of]

    @contextmanager
    def _ready(self, model: Model) -> Iterator[str]:
        """The name under which the backbone answers as this model; a merge is forgotten afterwards."""
        if model.kind == "base":
            yield BASE
        elif model.method or model.of:
            name = f"benchmark-{digest(self._decides(model))[:16]}"
            kind = "baseline" if model.kind == "baseline" else "expert"
            parts = [expert for part in model.of or (model,) for expert, _ in part.experts]
            types = sorted({taught for expert in parts for taught in self._cards[kind, expert].types})
            self._pool.backbone.add_task_model(name, self._task_vectors(model), types)
            try:
                yield name
            finally:
                self._pool.backbone.remove(name)
        elif model.kind == "baseline":
            yield self._pool.load_baseline(model.experts[0][0])
        else:
            self._pool.load_experts([model.experts[0][0]])
            yield model.experts[0][0]

    def _task_vectors(self, model: Model) -> Mapping[str, Tensor]:
        if model.of:
            parts = [self._task_vectors(part) for part in model.of]
            if any(part.keys() != parts[0].keys() for part in parts):
                raise SamnerError("merges over different modules have no mean")
            return {module: torch.stack([part[module] for part in parts]).mean(0) for module in parts[0]}
        if model.kind == "baseline":
            (name, _), *_ = model.experts
            adapters = [LoraAdapter.load(self._pool.baseline_folder(name), name)]
        else:
            adapters = [self._pool.adapter(name) for name, _ in model.experts]
        return MergedDeltas(adapters, model.method, [weight for _, weight in model.experts], **dict(model.parameters))
