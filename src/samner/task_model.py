"""Task models: from texts to entities with offsets, and at rest as a folder."""

from __future__ import annotations

import platform
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samner import arguments, hub
from samner.backbones import Backbone, is_server, load_backbone
from samner.data.validation import to_fields
from samner.display import brief, markdown
from samner.entities import Entity, EntityType, LabelsLike, entity_types
from samner.errors import HubError, ModelError, SamnerError
from samner.files import atomic_folder, copy_model, inside, read_json, sha256, user_path, write_json
from samner.pool.card import model_card, table
from samner.prediction import Prediction
from samner.selection import SIGNALS, Selection
from samner.spans import resolve
from samner.thresholds import Calibration, ThresholdLike, by_label, counting, least_score

if TYPE_CHECKING:
    from huggingface_hub import ModelCard
    from torch import Tensor

MANIFEST = "manifest.json"
STRATEGIES = ("similarity", "sampling")
MODES = ("union", "intersection", *STRATEGIES, "economy")
"""How the answers of the task models become one: both, what both agree on, one alone, or one merge of everything."""


def modes() -> tuple[str, ...]:
    """The modes there are: ``MODES``, and each signal besides by which a package lets experts be selected."""
    return tuple(dict.fromkeys((*MODES, *SIGNALS)))


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


_HELD: weakref.WeakKeyDictionary[Backbone, weakref.WeakValueDictionary[str, Merge]] = weakref.WeakKeyDictionary()
_HOLDING = threading.RLock()  # again by the thread that has it: garbage may be collected, and so released, amid it


def held(backbone: Backbone, model: str) -> Merge | None:
    """The merge that ``hold`` put on a backbone under a name; none if there is none, or no reference to it is left."""
    with _HOLDING:
        return _HELD[backbone].get(model) if backbone in _HELD and model in backbone.models else None


def hold(backbone: Backbone, merge: Merge, deltas: Mapping[str, Tensor]) -> Merge:
    """Put a merge on a backbone, which it leaves with the last reference to what this returns.

    Returns:
        The merge, or an equal one that the backbone holds already.

    Raises:
        ModelError: If the task vectors do not fit.
    """
    with _HOLDING:
        if known := held(backbone, merge.model):
            return known
        merges = _HELD.setdefault(backbone, weakref.WeakValueDictionary())
        merge = merges.setdefault(merge.model, merge)  # before the rest, so that no earlier one's end undoes it
        backbone.remove(merge.model)
        backbone.add_task_model(merge.model, deltas, merge.types)
        weakref.finalize(merge, _release, backbone, merge.model).atexit = False
        return merge


def _release(backbone: Backbone, model: str) -> None:
    with _HOLDING:
        if model not in _HELD[backbone]:
            backbone.remove(model)


@dataclass(repr=False)
class TaskModel:
    """A recogniser for one domain, made by ``samner.adapt``; safe for threads.

    The memory that its task vectors take is given back with the last reference to it, by ``close``, or at the end of
    a ``with`` block; models that were adapted alike share it.

    Args:
        backbone: Holds the task models.
        base_folder: Where the base model is at rest.
        types: The entity types it was adapted for, and looks for unless told otherwise.
        mode: One of ``MODES``.
        merges: Strategy name (or ``"economy"``) to task model.
        selections: Strategy name to what it decided and why.
        settings: How it was adapted: merge method and parameters, samples, seed.
        threshold: Score from which an entity counts.
        thresholds: The same by label, for labels that have their own.
        calibration: What its scores are turned into, if it is calibrated; see ``samner.calibration.calibrate``.

    Example:
        >>> model = TaskModel.load("my-domain")
        >>> model.predict_entities("Aspirin relieves headache.")[0]
        {'start': 0, 'end': 7, 'label': 'drug', 'text': 'Aspirin', 'score': 0.9..., ...}
    """

    backbone: Backbone
    base_folder: Path
    types: tuple[EntityType, ...]
    mode: str
    merges: Mapping[str, Merge]
    selections: Mapping[str, Selection]
    settings: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        self.base_folder = self.base_folder.absolute()  # the working folder may be another when it is read again
        self._base_files = _files(self.base_folder)

    def __repr__(self) -> str:
        experts = sorted({expert for merge in self.merges.values() for expert in merge.experts})
        names = brief([t.name for t in self.types])
        return f"<TaskModel {self.mode} of {', '.join(experts) or 'nothing: closed'} for {names}>"

    def predict(
        self,
        texts: Iterable[str],
        labels: LabelsLike | Sequence[LabelsLike] | None = None,
        *,
        threshold: ThresholdLike | None = None,
        overlaps: str = "flat",
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
        answers = self._answer([text], self._asked(labels, 1), threshold, _overlaps(flat_ner), multi_label)
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
        answers = self._answer(read, groups, threshold, _overlaps(flat_ner), multi_label, size=size)
        return [[to_fields(entity, answer.text) for entity in answer] for answer in answers]

    batch_predict_entities = inference

    def to(self, device: str) -> TaskModel:
        """Move to another device, and return itself. Models that share the base stay where they are.

        Args:
            device: A torch device name, or ``"auto"``.

        Raises:
            SamnerError: If there is no such device, a server has the model, or its base is not where it was.
        """
        if is_server(device):
            raise SamnerError(f"{device} is a server; say so when the model is loaded: TaskModel.load(folder, device)")
        backbone = load_backbone(self.base_folder, device)
        if backbone.fingerprint != self.backbone.fingerprint:
            raise ModelError(f"{self.base_folder}: is no longer the base model that was loaded")
        merges = {
            name: hold(backbone, replace(merge), self.backbone.task_vectors(merge.model))
            for name, merge in self.merges.items()
        }
        self.backbone = backbone  # first: who predicts just now reads the merges first
        self.merges = merges
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be known before its answers are trusted, such as that no expert is close to the domain."""
        return tuple(dict.fromkeys(warning for s in self.selections.values() for warning in s.warnings))

    def close(self) -> None:
        """Give back the memory of the task vectors, unless another model shares them; it cannot be asked any more."""
        self.merges = {}

    def __enter__(self) -> TaskModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _thresholds(
        self, threshold: float | Mapping[str, float] | None, types: Sequence[EntityType]
    ) -> dict[str, float]:
        """The score from which an entity counts, for each type."""
        names = [t.name for t in types]
        if not isinstance(threshold, Mapping):
            limit = self.threshold if threshold is None else arguments.probability(threshold, "threshold")
            return dict.fromkeys(names, limit)
        if unknown := set(threshold).difference(names):
            raise SamnerError(f"threshold names {min(unknown)!r}, which is none of the labels: {', '.join(names)}")
        given = {name: arguments.probability(value, f"threshold of {name!r}") for name, value in threshold.items()}
        return {name: given.get(name, self.threshold) for name in names}

    def _merges(self, mode: str) -> dict[str, Merge]:
        """The task models to ask, by strategy."""
        if mode not in modes():
            raise SamnerError(f"unknown mode {mode!r}; known are {', '.join(modes())}")
        merges = self.merges
        if not merges:
            raise SamnerError("this model was closed; adapt or load it anew")
        names = STRATEGIES if mode in ("union", "intersection") else (mode,)
        if missing := [name for name in names if name not in merges]:
            raise SamnerError(f"this model was adapted for mode {self.mode!r}: it holds no task model {missing[0]!r}")
        return {name: merges[name] for name in names}

    def save(self, folder: str | Path) -> None:
        """Write the model as a folder: manifest, base, and one file of task vectors per task model.

        Raises:
            SamnerError: If the folder exists, or the base model is no longer where it was loaded from.
        """
        from samner.merging.stream import TensorDeltas, write_delta

        merges = self._merges(self.mode)
        with atomic_folder(user_path(folder)) as temporary:
            if not self.base_folder.is_dir():
                raise ModelError(f"{self.base_folder}: the base model that was loaded is no longer there to be saved")
            copy_model(self.base_folder, temporary / "base")
            if self._base_files != _files(self.base_folder):
                base = load_backbone(temporary / "base")
                if base.fingerprint != self.backbone.fingerprint:
                    raise ModelError(f"{self.base_folder}: is no longer the base model that was loaded")
            models = dict.fromkeys(merge.model for merge in merges.values())
            for model in models:
                write_delta(TensorDeltas(self.backbone.task_vectors(model)), temporary / f"{model}.safetensors")
            files = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
            write_json(
                temporary / MANIFEST,
                {
                    "format": 1,
                    "mode": self.mode,
                    "labels": [{"name": t.name, "description": t.description} for t in self.types],
                    **self._scores(),
                    "merges": {
                        n: {"experts": dict(m.experts), "model": m.model, "types": list(m.types)}
                        for n, m in merges.items()
                    },
                    "selections": {name: selection.to_dict() for name, selection in self.selections.items()},
                    "settings": dict(self.settings),
                    "base": self.backbone.fingerprint,
                    "versions": versions(),
                    "files": {path.relative_to(temporary).as_posix(): sha256(path) for path in files},
                },
            )

    def _scores(self) -> dict[str, Any]:
        """What the manifest says of scores."""
        scores: dict[str, Any] = {"threshold": self.threshold, "thresholds": dict(self.thresholds)}
        return scores | ({"calibration": self.calibration.to_dict()} if self.calibration else {})

    def save_thresholds(self, folder: str | Path) -> None:
        """Write thresholds and calibration into the folder of this model, in which all else stays.

        Raises:
            SamnerError: If the folder holds another model.
        """
        path = user_path(folder) / MANIFEST
        manifest = read_json(path)
        merges = {name: merge.model for name, merge in self.merges.items()}
        if manifest.get("base") != self.backbone.fingerprint or merges != {
            name: merge["model"] for name, merge in manifest["merges"].items()
        }:
            raise ModelError(f"{path}: is not of the model whose thresholds are to be written")
        manifest.pop("calibration", None)
        write_json(path, manifest | self._scores())

    @classmethod
    def from_pretrained(cls, reference: str | Path, *, revision: str | None = None, device: str = "auto") -> TaskModel:
        """Read a model from its folder, or from a repository of the model hub that holds its files.

        Args:
            reference: The folder, or the repository's id (``owner/name``, or ``owner/name@revision``).
            revision: Of the repository: a commit, tag or branch.
            device: As of ``load``.

        Raises:
            ModelError: If there is none, or a file is missing, damaged or not as the manifest says.
        """
        named = hub.parse(hub.pinned(reference, revision))
        if named is None or (revision is None and user_path(reference).exists()):
            return cls.load(reference, device)
        try:
            folder = hub.download(*named)
        except HubError as error:
            raise ModelError(f"no folder {str(reference)!r}, and it cannot be had from the hub: {error}") from error
        if not (folder / MANIFEST).is_file():
            raise ModelError(f"{reference}: the repository holds no saved task model; there is no {MANIFEST} in it")
        return cls.load(folder, device)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Give the model to the model hub, as ``save`` writes it, in one commit and with a model card.

        Args:
            repository: Its id, ``owner/name``; made if there is none.
            private: Whether nobody else may see it.

        Returns:
            What gets it again, ``owner/name@commit``.

        Raises:
            SamnerError: If the model cannot be saved.
            HubError: If the hub does not take it.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            self.save(folder)
            files: dict[str, Path | bytes] = {
                path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
            }
            card = self._model_card(repository.rpartition("/")[2])
            files["README.md"] = str(card).encode("utf-8")
            return hub.upload(repository, files, MANIFEST, "Task model, by samner", private=private)

    def _model_card(self, name: str) -> ModelCard:
        parts = [(n, ", ".join(f"{e} x {w:g}" for e, w in m.experts.items())) for n, m in self.merges.items()]
        pool = self.settings.get("pool")
        return model_card(
            name,
            [
                f"Finds entities of the types {markdown(', '.join(t.name for t in self.types))}: "
                f"`samner.TaskModel.from_pretrained` opens it. Merged by {markdown(str(self.settings.get('method')))} "
                f"from experts of {f'the pool {markdown(str(pool))}' if pool else 'a pool'}, mode {self.mode}.",
                table(("part", "merged of the experts"), parts),
            ],
            tags=["merge"],
        )

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> TaskModel:
        """Read a model that ``save`` wrote.

        Args:
            folder: Of the model.
            device: A torch device name, or ``"auto"``: a GPU if there is one. Or a server, by its URL or a JSON file,
                that has the model's parts as adapters under the names of their strategies, as
                ``samner export --to vllm`` writes them: the folder needs no weights then (``*.safetensors``).

        Raises:
            ModelError: If there is none, or a file is missing, damaged or not as the manifest says.
        """
        from samner.merging.stream import DeltaFile

        folder = user_path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise ModelError(f"{path}: no such file, so {folder} is not a saved task model")
        manifest = read_json(path)
        served = is_server(device)
        try:
            for name, digest in manifest["files"].items():
                if served and name.endswith(".safetensors"):
                    continue
                file = inside(folder, name)
                if not file.is_file():
                    raise ModelError(f"{file}: missing")
                if sha256(file) != digest:
                    raise ModelError(f"{file}: damaged or changed, its SHA-256 is not the one in {MANIFEST}")
            merges = {
                n: Merge(dict(m["experts"]), str(m["model"]), tuple(map(str, m["types"])))
                for n, m in manifest["merges"].items()
            }
            listed = {f"{merge.model}.safetensors" for merge in merges.values()}
            if unlisted := listed - set(manifest["files"]):
                raise ModelError(f"{path}: lists no checksum of {min(unlisted)}")
            backbone = load_backbone(folder / "base", device)
            if not served and backbone.fingerprint != manifest["base"]:
                raise ModelError(f"{folder / 'base'}: is not the base model that the manifest names")
            for strategy, merge in merges.items():
                if served:
                    if merge.model not in backbone.models:
                        backbone.add_served(merge.model, strategy)
                elif (known := held(backbone, merge.model)) is not None:
                    merges[strategy] = known
                else:
                    deltas = DeltaFile.open(inside(folder, f"{merge.model}.safetensors"))
                    merges[strategy] = hold(backbone, merge, dict(deltas.dense()))
            model = cls(
                backbone,
                folder / "base",
                entity_types(EntityType(t["name"], t["description"]) for t in manifest["labels"]),
                str(manifest["mode"]),
                merges,
                {name: Selection.from_dict(values) for name, values in manifest["selections"].items()},
                dict(manifest["settings"]),
                arguments.probability(manifest["threshold"], "threshold"),
                {
                    str(label): arguments.probability(value, f"threshold of {label!r}")
                    for label, value in manifest.get("thresholds", {}).items()
                },
                Calibration.from_dict(manifest["calibration"]) if "calibration" in manifest else None,
            )
            model._merges(model.mode)
            return model
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{path}: not a task model's manifest ({type(error).__name__}: {error})") from error


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """The files below a folder, with size and time of the last change."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found}


def versions() -> dict[str, str]:
    """Versions of what decides the numbers: samner, Python, and the libraries below it."""
    packages = ("samner", "torch", "transformers", "peft", "sentence-transformers")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _overlaps(flat_ner: bool) -> str:
    return "flat" if flat_ner else "nested"


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
