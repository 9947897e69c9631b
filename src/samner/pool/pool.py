"""A pool of experts as a folder: ``pool.json``, ``base/`` and ``experts/<name>/``.

Nothing in it lists the experts: a folder below ``experts/`` with a card is one. Adding renames a finished folder into
place and removing renames one away, so either touches no other expert and two processes cannot lose each other's work.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from samner import arguments, hub
from samner.backbones import Backbone, load_backbone
from samner.backbones.families import device_name
from samner.display import known_names
from samner.errors import HubError, ModelError, PoolError, SamnerError
from samner.files import LEGAL, atomic_folder, copy_model, inside, model_files, user_path
from samner.lora import LoraAdapter
from samner.pool.card import (
    ADAPTER_FILES,
    BASELINES,
    CARD,
    EXPERTS,
    POOL_CARD,
    ExpertCard,
    PoolCard,
    Taught,
    check_name,
    expert_model_card,
    pool_model_card,
)
from samner.pool.cards import Cards
from samner.pool.checks import expert_problems, file_problems, fit_problems, merge_problems
from samner.pool.listing import Listing
from samner.pool.snapshot import PoolSnapshot, Removed
from samner.pools import SHIPPED, default_pool, shipped
from samner.settings import validated

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_SHOWN = 10  # names that a pool is shown with
_PASSING = 32
"""Experts that stay in memory after a selection asked them, for the next."""


class ExpertPool:
    """A base model and the experts trained on it.

    Args:
        folder: Of the pool.
        device: Torch device for the base model, which is loaded when it is first needed.

    Attributes:
        merge: Parameters of merge methods, such as ``lam``, that were found to suit these experts.
        source: Where it is from, as ``load`` takes it, ``owner/name@commit``, if it is in the hub's cache.

    Raises:
        PoolError: If the folder is not a pool.

    Example:
        >>> pool = ExpertPool.load("builtin")
        >>> sorted(pool.experts)
        ['biomedical', 'encyclopedia', 'legal', 'news', 'social', 'stem', 'traffic']
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        card = PoolCard.read(folder)
        self.folder = folder.absolute()  # experts are read when they are needed, wherever the process works by then
        self.device = device_name(device)
        self.base_folder = inside(self.folder, card.base)
        self.merge = card.merge
        self.source = hub.source(self.folder)
        self._lock = RLock()  # of what is kept in memory; the folder needs none
        self._backbone: Backbone | None = None
        self._loaded: dict[str, str] = {}
        self._passing: dict[str, None] = {}  # of those loaded, what selections alone asked, the longest ago first
        self._listing = Listing(self.folder)
        self._snapshots: WeakSet[PoolSnapshot] = WeakSet()

    def __repr__(self) -> str:
        names = self.names
        experts = ", ".join(names) if len(names) <= _SHOWN else f"{len(names)} experts"
        return f"<ExpertPool {self.folder.name} of {experts or 'no experts'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return ExpertPool, (self.folder, self.device)

    @classmethod
    def load(cls, reference: str | Path | None = None, device: str = "auto") -> ExpertPool:
        """Open a pool.

        Args:
            reference: ``"smollm2"``, ``"builtin"`` (smaller and faster), ``"smollm2-generation"`` (answers in
                JSON, as in the paper), a folder, or the id of a model-hub repository that holds a pool's files, at its
                newest or at a revision (``owner/name@revision``; ``source`` says which commit it is). By default the
                first of those whose language model is there; see ``samner pool fetch``.
            device: Torch device for the base model.

        Raises:
            PoolError: If there is no such pool.
        """
        if reference is None:
            reference = default_pool()
        path = user_path(reference)
        if str(reference) in SHIPPED:
            return cls(shipped(str(reference)), device)
        if not path.exists() and hub.is_reference(reference):
            try:
                folder = hub.download(reference)
            except HubError as error:
                raise PoolError(f"no folder {reference!r}, and it cannot be had from the hub: {error}") from error
            if not (folder / POOL_CARD).is_file():
                what = "an expert, no pool: 'samner pool pull' gets it" if (folder / CARD).is_file() else "no pool"
                raise PoolError(f"{reference}: the repository holds {what}; there is no {POOL_CARD} in it")
            return cls(folder, device)
        if not path.is_dir():
            names = ", ".join(repr(name) for name in SHIPPED)
            raise PoolError(f"no pool at {str(reference)!r}: give {names}, a folder or a hub id (owner/name)")
        return cls(path, device)

    @classmethod
    def from_pretrained(
        cls, reference: str | Path, *, revision: str | None = None, device: str = "auto"
    ) -> ExpertPool:
        """Open a pool, as ``load``; of a repository of the model hub, at a revision.

        Args:
            reference: As of ``load``.
            revision: Of the repository: a commit, tag or branch.
            device: As of ``load``.

        Raises:
            PoolError: If there is no such pool.
        """
        return cls.load(hub.pinned(reference, revision), device)

    def push_to_hub(self, repository: str, *, expert: str | None = None, private: bool = False) -> str:
        """Give the pool, or an expert of it, to the model hub, in one commit and with a model card.

        What is wrong by ``verify`` is not given away. Files that the repository has of an earlier version are replaced
        or deleted; what did not change is not uploaded again, nor what was before an interruption.

        Args:
            repository: Its id, ``owner/name``; made if there is none.
            expert: The expert to give, as a repository of its own: an adapter that PEFT loads. By default the pool.
            private: Whether nobody else may see it.

        Returns:
            What gets it again, ``owner/name@commit``.

        Raises:
            PoolError: If the pool is not whole, or has no such expert.
            SamnerError: If a file is a link that leads outside.
            HubError: If the hub does not take it.
        """
        if expert is None:
            folder, problems = self.folder, self.verify()
        else:
            folder = self.expert_folder(expert)
            card = ExpertCard.read(folder)
            problems = expert_problems(folder, card, self.backbone, self.base_folder)
        if problems:
            raise PoolError(f"not pushed, as it is not whole: {problems[0]}")
        if expert is not None:
            content = _contents(folder, folder) | {"README.md": _encoded(expert_model_card(card))}
            return hub.upload(repository, content, CARD, f"Expert {card.name}, by samner", private=private)
        places = [self.base_folder, *(folder / place for place in (EXPERTS, BASELINES))]
        content = {name: path for place in places for name, path in _contents(place, folder).items()}
        beside = [path.name for path in folder.iterdir() if path.name.startswith(LEGAL) and path.is_file()]
        content |= {name: inside(folder, name) for name in (POOL_CARD, *beside)}
        content |= {
            "README.md": _encoded(pool_model_card(repository.rpartition("/")[2], self.experts)),
        }
        return hub.upload(repository, content, POOL_CARD, "Pool of experts, by samner", private=private)

    @classmethod
    def create(cls, folder: Path, base: Path, merge: Mapping[str, Any] | None = None) -> ExpertPool:
        """Make an empty pool over a copy of a base model's folder.

        Args:
            folder: Of the pool.
            base: Folder of the base model.
            merge: Parameters of merge methods that suit its experts.

        Raises:
            SamnerError: If the folder exists, or ``merge`` is not a mapping of plain values.
            ModelError: If ``base`` is not a base model.
        """
        folder, base = user_path(folder), user_path(base)
        card = validated(PoolCard, {"base": "base", "merge": {} if merge is None else merge}, "merge")
        if not (base / "base.json").is_file():
            raise ModelError(f"{base / 'base.json'}: no such file, so {base} is not a base model")
        with atomic_folder(folder) as temporary:
            copy_model(base, temporary / "base")
            (temporary / EXPERTS).mkdir()
            card.write(temporary)
        return cls(folder)

    @property
    def backbone(self) -> Backbone:
        """The base model, loaded on first use."""
        with self._lock:
            if self._backbone is None:
                self._backbone = load_backbone(self.base_folder, self.device)
            return self._backbone

    @cached_property
    def base_types(self) -> frozenset[str]:
        """Names of the types that the base was taught, as ``base.json`` lists them; none where it does not."""
        return Taught.read(self.base_folder).names()

    @property
    def experts(self) -> Cards:
        """The cards of all experts by name, in the order of their names: as the folder is now, each read once."""
        return self._listing.cards()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all experts, in order, by their folders: no card is read."""
        return tuple(self._listing.names())

    def snapshot(self) -> PoolSnapshot:
        """The experts as they are now, also when others are added and removed meanwhile."""
        with self._lock:
            snapshot = PoolSnapshot(self)
            self._snapshots.add(snapshot)
            return snapshot

    def expert_folder(self, name: str) -> Path:
        """Where an expert's files are.

        Raises:
            PoolError: If the pool has no expert of that name.
        """
        return self._folder(EXPERTS, "expert", name)

    def baseline_folder(self, name: str) -> Path:
        """Where a baseline's files are.

        Raises:
            PoolError: If the pool has no baseline of that name.
        """
        return self._folder(BASELINES, "baseline", name)

    def _folder(self, place: str, kind: str, name: str) -> Path:
        folder = inside(self.folder, f"{place}/{check_name(name)}")
        if not (folder / CARD).is_file():
            known = sorted(card.parent.name for card in folder.parent.glob(f"[!.]*/{CARD}"))
            hint = f"; {name} is a pool of its own: --pool {name}" if name in SHIPPED else ""
            raise PoolError(f"{self.folder} has no {kind} {name!r}; it has: {known_names(name, known)}{hint}")
        return folder

    def adapter(self, name: str) -> LoraAdapter:
        """An expert's adapter as low-rank factors, for merging.

        Raises:
            PoolError: If there is no such expert, its files are damaged, or it was trained on another base.
            ModelError: If it is not an adapter that can be merged.
        """
        return self._adapter(name, *self._sound(self.expert_folder(name)))

    def _adapter(self, name: str, folder: Path, card: ExpertCard) -> LoraAdapter:
        adapter = LoraAdapter.load(folder, name, fingerprint=card.base, checksums=card.files)
        return adapter.on_base(self.backbone.module_shapes())

    def load_experts(self, names: Iterable[str]) -> None:
        """Register experts with the base model, so that it can answer as each of them.

        Those that are gone from the folder leave it.

        Raises:
            PoolError, ModelError: As ``adapter``.
        """
        with self._lock:
            for name in [n for n in self._loaded if ":" not in n and not (self.folder / EXPERTS / n).is_dir()]:
                self._forget(name)
        for name in arguments.strings(names, "names", "name"):
            with self._lock:
                self._register(name, *self._sound(self.expert_folder(name)))
                self._passing.pop(name, None)

    def load_baseline(self, name: str) -> str:
        """Register an adapter below ``baselines/``: what experts are compared to, never selected or merged.

        Returns:
            The name under which the base model answers as it; no expert can have that name.

        Raises:
            PoolError, ModelError: As ``adapter``.
        """
        model = f"baseline:{name}"
        self._register(model, *self._sound(self.baseline_folder(name)))
        return model

    def _register(self, model: str, folder: Path, card: ExpertCard) -> None:
        digest = card.files[ADAPTER_FILES[1]]
        with self._lock:
            if self._loaded.get(model) != digest:
                self._forget(model)
                self.backbone.add_expert(model, folder, card.types)
                self._loaded[model] = digest

    def _lend(self, experts: Mapping[str, tuple[Path, ExpertCard]]) -> Backbone:
        """The base with some experts on it; of those that nobody loaded for longer, the last few stay in memory."""
        with self._lock:
            for name, expert in experts.items():
                passing = name in self._passing or name not in self._loaded
                self._register(name, *expert)
                if passing:
                    self._passing.pop(name, None)
                    self._passing[name] = None
            base = self.backbone.only(list(experts))
            while base is not self.backbone and len(self._passing) > _PASSING:
                self._forget(next(iter(self._passing)))
            return base

    def _forget(self, model: str) -> None:
        self._loaded.pop(model, None)
        self._passing.pop(model, None)
        if self._backbone is not None:
            self._backbone.remove(model)

    def _sound(self, folder: Path) -> tuple[Path, ExpertCard]:
        card = self._listing.card(folder)
        if problem := next(file_problems(folder, card, self._listing.digest), None):
            raise PoolError(problem)
        if card.base != self.backbone.fingerprint:
            raise PoolError(f"{folder}: was trained on another base model than the one in {self.base_folder}")
        return folder, card

    def add(self, source: Path, name: str | None = None, *, same_base: Iterable[str] = ()) -> ExpertCard:
        """Copy an expert's folder, as ``samner train`` writes it, into the pool.

        Args:
            source: The folder.
            name: Another name for it in the pool than its own.
            same_base: Names of the expert's base that are said to be of the pool's base, too, whatever the
                fingerprints: ``"A"`` or ``"A=B"``.

        Raises:
            PoolError: If the name is taken, a file is missing or its checksum is wrong, or it was trained on another
                base.
            ModelError: If the adapter cannot be read or does not fit the base.
        """
        self._check_own()
        source = user_path(source)
        card = ExpertCard.read(source)
        problems = list(file_problems(source, card)) or list(
            fit_problems(source, card, self.backbone, self.base_folder, same_base)
        )
        if problems:
            raise PoolError(problems[0])
        target = inside(self.folder, f"{EXPERTS}/{check_name(name or card.name)}")
        if target.exists():
            raise PoolError(f"{self.folder} has an expert {target.name!r} already; remove it first or give a name")
        try:
            with atomic_folder(target) as temporary:
                for file in ADAPTER_FILES:  # what else there is stays behind
                    shutil.copyfile(source / file, temporary / file)
                added = card.model_copy(update={"name": target.name, "base": self.backbone.fingerprint}).write(
                    temporary
                )
                if any(added.files[file] != card.files[file] for file in ADAPTER_FILES):
                    raise PoolError(f"{source}: was changed while it was copied")
        except (OSError, SamnerError) as error:
            if target.exists():
                raise PoolError(f"{self.folder} got an expert {target.name!r} from elsewhere just now") from error
            raise
        return added

    def remove(self, name: str) -> None:
        """Delete an expert.

        Raises:
            PoolError: If the pool has none of that name.
        """
        self._check_own()
        with self._lock:
            folder = self.expert_folder(name)
            aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
            try:
                os.replace(folder, aside)
            except OSError as error:
                aside.rmdir()
                if isinstance(error, FileNotFoundError):
                    raise PoolError(
                        f"the expert {name!r} was removed from {self.folder} from elsewhere just now"
                    ) from error
                raise
            self._forget(name)
            users = [snapshot for snapshot in self._snapshots if snapshot._has(name)]
            if users:
                removed = Removed(aside)
                for snapshot in users:
                    snapshot._keep(name, removed)
                return
        shutil.rmtree(aside)

    def write_model_card(self, name: str) -> None:
        """Write the pool's model card, ``README.md``, as it is now, for people and a model hub."""
        self._check_own()
        pool_model_card(name, self.experts).save(self.folder / "README.md")

    def _check_own(self) -> None:
        if self.source is not None:
            raise PoolError(
                f"{self.source} is in the hub's cache, which stays as it is; get a copy that you can change: "
                f"samner pool pull {self.source} FOLDER"
            )

    def verify(self) -> list[str]:
        """Check every file's checksum, every adapter against the base, and that nothing else lies among them.

        Reads everything anew, beside what is in use.

        Returns:
            The problems, one line each.
        """
        base: Backbone | None
        try:
            base = load_backbone(self.base_folder, self.device)
            Taught.read(self.base_folder)
            problems = [problem for _, problem in model_files(self.base_folder) if problem]
        except SamnerError as error:
            base, problems = None, [str(error)]
        problems += merge_problems(self.folder)
        for place in (EXPERTS, BASELINES):
            try:
                root = inside(self.folder, place)
                folders = sorted(root.iterdir()) if root.is_dir() else []
            except SamnerError as error:
                problems.append(str(error))
                continue
            for folder in folders:
                if folder.name.startswith("."):
                    problems.append(f"{folder}: left over from an interrupted change; it can be deleted")
                    continue
                try:
                    inside(self.folder, f"{place}/{folder.name}")
                    card = ExpertCard.read(folder)
                    if card.name != folder.name:
                        problems.append(f"{folder / CARD}: is named {card.name!r}, its folder {folder.name!r}")
                    problems += expert_problems(folder, card, base, self.base_folder)
                except SamnerError as error:
                    problems.append(str(error))
        return problems


def _contents(folder: Path, root: Path) -> dict[str, Path | bytes]:
    """The files below a folder that was verified, by their paths from a root."""
    return {path.relative_to(root).as_posix(): path for path, _ in model_files(folder)}


def _encoded(card: ModelCard) -> bytes:
    return str(card).encode("utf-8")
