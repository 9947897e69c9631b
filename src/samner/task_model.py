"""Task models: from texts to entities with offsets, and at rest as a folder."""

from __future__ import annotations

import platform
import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samner import arguments, hub
from samner.backbones import Backbone, is_server, load_backbone
from samner.backbones.families import device_name
from samner.display import brief, markdown
from samner.entities import EntityType, entity_types
from samner.errors import HubError, ModelError, SamnerError
from samner.files import (
    atomic_folder,
    check_format,
    copy_model,
    inside,
    read_json,
    sha256,
    user_path,
    values_of,
    write_json,
)
from samner.pool.card import model_card, table
from samner.recogniser import MODES as MODES
from samner.recogniser import STRATEGIES as STRATEGIES
from samner.recogniser import Merge as Merge
from samner.recogniser import Recogniser
from samner.selection import SIGNALS, Selection
from samner.thresholds import Calibration

if TYPE_CHECKING:
    from huggingface_hub import ModelCard
    from torch import Tensor

MANIFEST, CARD = "manifest.json", "README.md"


def modes() -> tuple[str, ...]:
    """The modes there are: ``MODES``, and each signal besides by which a package lets experts be selected."""
    return tuple(dict.fromkeys((*MODES, *SIGNALS)))


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
class TaskModel(Recogniser):
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
        card: What people should know of it, in Markdown: the ``README.md`` of its folder; empty for none.

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
    card: str = ""

    def __post_init__(self) -> None:
        self.base_folder = self.base_folder.absolute()  # the working folder may be another when it is read again
        self._base_files = _files(self.base_folder)

    def __repr__(self) -> str:
        experts = sorted({expert for merge in self.merges.values() for expert in merge.experts})
        names = brief([t.name for t in self.types])
        return f"<TaskModel {self.mode} of {', '.join(experts) or 'nothing: closed'} for {names}>"

    def modes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*modes(), *self.merges)))

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

    def __getstate__(self) -> dict[str, Any]:
        """For a copy or a worker: the base with this model's own task vectors, without all else that is on it."""
        return {**vars(self), "backbone": self.backbone.only({merge.model for merge in self.merges.values()})}

    def __enter__(self) -> TaskModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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
            if self.card:
                (temporary / CARD).write_text(self.card, encoding="utf-8")
            files = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
            write_json(
                temporary / MANIFEST,
                {
                    "format": 1,
                    "mode": self.mode,
                    "labels": [{"name": t.name, "description": t.description} for t in self.types],
                    **self.scores(),
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

    def scores(self) -> dict[str, Any]:
        """What manifests say of scores: thresholds and calibration, as JSON values."""
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
        write_json(path, manifest | self.scores())

    @classmethod
    def from_pretrained(cls, reference: str | Path, *, revision: str | None = None, device: str = "auto") -> TaskModel:
        """Read a model from its folder, or from a repository of the model hub that holds its files.

        Args:
            reference: The folder, or the repository's id (``owner/name``, or ``owner/name@revision``).
            revision: Of the repository: a commit, tag or branch.
            device: As of ``load``.

        Raises:
            ModelError: If there is none, or a file is missing, damaged or not as the manifest says.
            HubError: If a file came damaged from the hub; it is got anew next time.
        """
        if revision is None and (user_path(reference).exists() or not hub.is_reference(reference)):
            return cls.load(reference, device)
        try:
            folder = hub.download(hub.pinned(reference, revision))
        except HubError as error:
            raise ModelError(f"no folder {str(reference)!r}, and it cannot be had from the hub: {error}") from error
        if not (folder / MANIFEST).is_file():
            raise ModelError(f"{reference}: the repository holds no saved task model; there is no {MANIFEST} in it")
        try:
            return cls.load(folder, device)
        except ModelError:
            hub.check(folder)  # if it came damaged, the next try gets it anew
            raise

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

        folder, device = user_path(folder), device_name(device)
        path = folder / MANIFEST
        if not path.is_file():
            raise ModelError(f"{path}: no such file, so {folder} is not a saved task model")
        manifest = read_json(path)
        check_format(path, manifest)
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
                    merges[strategy] = hold(backbone, merge, deltas)
                    backbone.prepare(merge.model)  # what is wrong with the values is said now
            with values_of(path):
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
                    (folder / CARD).read_text(encoding="utf-8") if CARD in manifest["files"] else "",
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
    packages = ("samner", "torch", "transformers", "peft")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
