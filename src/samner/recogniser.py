"""Asking task models for entities, whoever runs them: thresholds, overlaps, several models' answers as one."""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import ABC
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from samner import arguments
from samner.display import brief
from samner.entities import Entity, EntityType, LabelsLike, entity_types, to_fields
from samner.errors import SamnerError
from samner.prediction import Prediction
from samner.spans import resolve
from samner.thresholds import Calibration, ThresholdLike, by_label, counting, least_score

STRATEGIES = ("similarity", "sampling")
MODES = ("union", "intersection", *STRATEGIES, "economy")
"""How the answers of the task models become one: both, what both agree on, one alone, or one merge of everything."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Merge:
    """Merged experts: which ones, with which weights, and under which name the backbone holds their task vectors.

    Args:
        experts: Name to weight.
        model: The backbone's name for it.
        types: What the experts were taught.
    """

    experts: Mapping[str, float]
    model: str
    types: tuple[str, ...] = ()


class Asked(Protocol):
    """What holds task models under names and answers for several of them; a ``Backbone`` is one."""

    @property
    def fingerprint(self) -> str:
        """Equal for two only if they answer alike under the same names."""

    def predict(
        self,
        texts: Sequence[str],
        types: Sequence[EntityType],
        models: Sequence[str],
        threshold: float,
        on_done: Callable[[int], None] | None = None,
    ) -> dict[str, list[list[Entity]]]:
        """See ``Backbone.predict``."""


class Recogniser(ABC):
    """What finds entities by one or more task models.

    Attributes:
        backbone: Holds the task models.
        types: The entity types it looks for unless told otherwise.
        mode: How the answers of the task models become one.
        merges: Strategy name to task model.
        threshold: Score from which an entity counts.
        thresholds: The same by label, for labels that have their own.
        calibration: What its scores are turned into, if it is calibrated.
    """

    backbone: Asked
    types: tuple[EntityType, ...]
    mode: str
    merges: Mapping[str, Merge]
    threshold: float
    thresholds: Mapping[str, float]
    calibration: Calibration | None

    def modes(self) -> tuple[str, ...]:
        """The modes there are."""
        return tuple(dict.fromkeys((*MODES, *self.merges)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be known before its answers are trusted."""
        return ()

    def predict(
        self,
        texts: Iterable[str],
        labels: LabelsLike | Sequence[LabelsLike] | None = None,
        *,
        threshold: ThresholdLike | None = None,
        flat: bool = True,
        overlaps: str | None = None,
        multi_label: bool = False,
        mode: str | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Find the entities of many texts of any length.

        Args:
            texts: Any iterable of texts; offsets in the answer refer to them as given.
            labels: Entity types to look for, or for each text a list (or mapping) of its own; those of the adaptation
                by default. Other ones are asked of the same merge, with a warning that it was chosen for others.
            threshold: Score from which an entity counts, or a mapping of labels to scores; the model's own by default.
            flat: Whether entities may not lie within one another, unless ``overlaps`` says more.
            overlaps: ``"flat"``: entities do not overlap, the surer one stays. ``"nested"``: one may lie within
                another. ``"all"``: everything that reaches its threshold.
            multi_label: Whether a span can have several labels.
            mode: Another way to combine the task models than the model's own, as far as it holds them.
            on_done: Called with the number of texts just finished.

        Returns:
            For each text its entities in order, each with the names of the task models that found it and the highest
            of their scores (of an intersection, the lowest: no lower threshold is needed to find it).

        Raises:
            SamnerError: If a text is not a string, or an argument is not valid.
        """
        read = arguments.strings(texts, "texts", "text")
        groups = self._asked(labels, len(read))
        overlaps = _overlaps(flat, "flat") if overlaps is None else overlaps
        return self._answer(read, groups, threshold, overlaps, multi_label, mode, on_done)

    def _answer(
        self,
        texts: Sequence[str],
        groups: Mapping[tuple[EntityType, ...], Sequence[int]],
        threshold: ThresholdLike | None,
        overlaps: str,
        multi_label: bool,
        mode: str | None = None,
        on_done: Callable[[int], None] | None = None,
        size: int | None = None,
    ) -> list[Prediction]:
        """``predict``, of groups of texts that are asked for the same types, so many texts at a time."""
        multi_label = arguments.flag(multi_label, "multi_label")
        resolve((), overlaps)  # refuses what is no way to overlap, however few texts there are
        result: dict[int, Prediction] = {}
        every = {t.name: t for types in groups for t in types}
        limits = by_label(threshold, tuple(every.values()), self.threshold, self.thresholds)
        for types, places in groups.items():
            its_limits = {t.name: limits[t.name] for t in types}
            for first in range(0, len(places), size or max(len(places), 1)):
                part = places[first : first + size] if size else places
                asked = [texts[place] for place in part]
                found, votes = self.candidates(asked, types, its_limits, mode=mode, on_done=on_done)
                for place, its in zip(part, found, strict=True):
                    entities = combine(its, votes, overlaps=overlaps, multi_label=multi_label)
                    result[place] = Prediction(texts[place], entities)
        return [result[place] for place in range(len(texts))]

    def candidates(
        self,
        texts: Sequence[str],
        types: Sequence[EntityType],
        limits: Mapping[str, float],
        *,
        mode: str | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> tuple[list[dict[str, list[Entity]]], int]:
        """What each task model finds, for ``combine`` to make one answer of.

        Args:
            texts: The texts.
            types: The entity types to look for.
            limits: The threshold of each.
            mode: As of ``predict``.
            on_done: As of ``predict``.

        Returns:
            For each text the candidates by strategy, and how many strategies have to agree.
        """
        mode = self.mode if mode is None else mode
        if on_done is not None and not callable(on_done):
            raise SamnerError(f"on_done must be a function that takes a number, not {on_done!r}")
        merges = self._merges(mode)
        backbone = self.backbone  # after the merges, which it holds also if the model is moved just now
        asked = list(dict.fromkeys(merge.model for merge in merges.values()))
        answers = backbone.predict(texts, types, asked, least_score(limits, self.calibration), on_done)
        count = {model: [counting(its, limits, self.calibration) for its in answers[model]] for model in asked}
        found = [{name: count[merge.model][i] for name, merge in merges.items()} for i in range(len(texts))]
        return found, len(merges) if mode == "intersection" else 1

    def _asked(
        self, labels: LabelsLike | Sequence[LabelsLike] | None, texts: int
    ) -> dict[tuple[EntityType, ...], list[int]]:
        """The places of the texts that are asked for the same types, by those types."""
        if labels is None:
            return {self.types: list(range(texts))}
        given: Any = labels if isinstance(labels, str | Mapping) or not isinstance(labels, Iterable) else list(labels)
        groups: dict[tuple[EntityType, ...], list[int]] = {}
        if isinstance(given, list) and given and not any(isinstance(one, str | EntityType) for one in given):
            if len(given) != texts:
                raise SamnerError(f"there are labels of {len(given)} texts, and {texts} texts")
            for place, its in enumerate(given):
                groups.setdefault(entity_types(its), []).append(place)
        else:
            groups[entity_types(given)] = list(range(texts))
        for types in groups:
            if warning := self.warning_of(types):
                warnings.warn(warning, stacklevel=3)
        return groups

    def warning_of(self, types: Iterable[EntityType]) -> str | None:
        """What to know before it is asked for types: that its experts were chosen for others, if they were."""
        known = {t.name for t in self.types}
        if not (new := [t.name for t in types if t.name not in known]):
            return None
        return (
            f"the merge was chosen for {brief(sorted(known))}, not for {brief(new)}; it is asked for them all the "
            "same; adapt anew for experts chosen for these labels"
        )

    def digest(
        self,
        types: Sequence[EntityType],
        *,
        threshold: ThresholdLike | None = None,
        mode: str | None = None,
        overlaps: str = "flat",
    ) -> str:
        """SHA-256 of everything that decides its answers to a text; the arguments are those of ``predict``."""
        decides = [
            self.backbone.fingerprint,
            sorted((name, merge.model) for name, merge in self.merges.items()),
            [t.prompt for t in types],
            sorted(by_label(threshold, types, self.threshold, self.thresholds).items()),
            self.calibration.to_dict() if self.calibration else None,
            mode or self.mode,
            overlaps,
        ]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def predict_entities(
        self,
        text: str,
        labels: LabelsLike | None = None,
        flat_ner: bool = True,
        threshold: ThresholdLike | None = None,
        multi_label: bool = False,
    ) -> list[dict[str, Any]]:
        """Find the entities of one text, as dictionaries the way GLiNER returns them.

        Args:
            text: The text.
            labels: As of ``predict``.
            flat_ner: Whether entities may not lie within one another.
            threshold: As of ``predict``.
            multi_label: Whether a span can have several labels.

        Returns:
            Dictionaries with ``start``, ``end`` (exclusive), ``text``, ``label``, ``score`` and ``found_by``.
        """
        if not isinstance(text, str):
            raise SamnerError(f"text must be a string, not {text!r}; predict takes many")
        answers = self._answer([text], self._asked(labels, 1), threshold, _overlaps(flat_ner, "flat_ner"), multi_label)
        return [to_fields(entity, text) for entity in answers[0]]

    def inference(
        self,
        texts: str | Iterable[str],
        labels: LabelsLike | Sequence[LabelsLike] | None = None,
        flat_ner: bool = True,
        threshold: ThresholdLike | None = None,
        multi_label: bool = False,
        batch_size: int = 256,
    ) -> list[list[dict[str, Any]]]:
        """Find the entities of many texts, as dictionaries the way GLiNER returns them.

        Args:
            texts: Any iterable of texts; one text is taken for a list of one.
            labels: As of ``predict``; a list for each text, too.
            flat_ner: As of ``predict_entities``.
            threshold: As of ``predict``.
            multi_label: As of ``predict_entities``.
            batch_size: How many texts are asked about at a time. Of these, those of a length share a batch.

        Returns:
            For each text what ``predict_entities`` gives.
        """
        size = arguments.whole(batch_size, "batch_size", 1)
        read = [texts] if isinstance(texts, str) else arguments.strings(texts, "texts", "text")
        groups = self._asked(labels, len(read))
        answers = self._answer(read, groups, threshold, _overlaps(flat_ner, "flat_ner"), multi_label, size=size)
        return [[to_fields(entity, answer.text) for entity in answer] for answer in answers]

    batch_predict_entities = inference

    def _merges(self, mode: str) -> dict[str, Merge]:
        """The task models to ask, by strategy."""
        known = self.modes()
        if mode not in known:
            raise SamnerError(f"unknown mode {mode!r}; known are {', '.join(known)}")
        merges = self.merges
        if not merges:
            raise SamnerError("this model was closed; adapt or load it anew")
        names = STRATEGIES if mode in ("union", "intersection") else (mode,)
        if missing := [name for name in names if name not in merges]:
            raise SamnerError(f"this model was adapted for mode {self.mode!r}: it holds no task model {missing[0]!r}")
        return {name: merges[name] for name in names}


def _overlaps(flat: bool, name: str) -> str:
    return "flat" if arguments.flag(flat, name) else "nested"


def combine(
    found: Mapping[str, Sequence[Entity]], votes: int = 1, *, overlaps: str = "flat", multi_label: bool = False
) -> list[Entity]:
    """One answer from the candidate entities that each of several models found in a text.

    Args:
        found: By the name of the model; candidates may overlap.
        votes: How many models have to find an entity, after each has resolved its own overlaps.
        overlaps: As of ``TaskModel.predict``.
        multi_label: As of ``TaskModel.predict``.

    Returns:
        Each entity once, in order, with the names of the models that found it and the highest score that so many of
        them reach.
    """
    merged: dict[tuple[int, int, str], dict[str, Entity]] = {}
    for name, entities in found.items():
        for entity in resolve(entities, overlaps, multi_label=multi_label):
            merged.setdefault(entity.key, {})[name] = entity
    agreed = (its for its in merged.values() if len(its) >= votes)
    # the vote that decides has the score that counts: with one vote the highest, with all the lowest
    deciding = ((sorted(its.values(), key=lambda e: -e.score)[votes - 1], tuple(its)) for its in agreed)
    named = (replace(entity, found_by=finders) for entity, finders in deciding)
    return resolve(named, overlaps, multi_label=multi_label)
