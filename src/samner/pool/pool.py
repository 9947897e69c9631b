"""A pool of experts as a folder: ``pool.json``, ``base/`` and ``experts/<name>/``.

There is no index of experts: a folder below ``experts/`` with a card is one. Adding renames a finished folder into
place and removing renames one away, so either touches no other expert and two processes cannot lose each other's work.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from samner.backbones import Backbone, load_backbone
from samner.errors import ModelError, PoolError, SamnerError
from samner.files import atomic_folder, inside, read_json, sha256, write_json
from samner.lora import LoraAdapter
from samner.pool.card import ADAPTER_FILES, CARD, ExpertCard, check_name

SHIPPED = {"builtin": "builtin", "demo-lm": "demo_lm"}
"""Pools that come with samner: what they are called, and their folders in the package."""

_ALLOWED_SUFFIXES = (".safetensors", ".json", ".md")
_BASE_SUFFIXES = (".jinja", ".model", ".tiktoken", ".txt", ".yaml")  # tokenizer and prompt of a language model
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def shipped(name: str) -> Path:
    """Folder of a pool that comes with samner, by its name in ``SHIPPED``."""
    return Path(str(resources.files("samner") / "pools" / SHIPPED[name]))


class ExpertPool:
    """A base model and the experts trained on it.

    Args:
        folder: Of the pool.
        device: Torch device for the base model, which is loaded when it is first needed.

    Attributes:
        merge: Parameters of merge methods, such as ``lam``, that were found to suit these experts.

    Raises:
        PoolError: If the folder is not a pool.

    Example:
        >>> pool = ExpertPool.load("builtin")
        >>> sorted(pool.experts)
        ['biomedical', 'encyclopedia', 'legal', 'news', 'social', 'stem', 'traffic']
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder = folder
        self.device = device
        if not (folder / "pool.json").is_file():
            raise PoolError(f"{folder} is not a pool: it holds no pool.json; 'samner pool create' makes one")
        description = read_json(folder / "pool.json")
        base = description.get("base")
        if not isinstance(base, str):
            raise PoolError(f"{folder / 'pool.json'}: 'base' must name the folder of the base model")
        self.base_folder = inside(folder, base)
        self.merge = description.get("merge", {})
        if not isinstance(self.merge, dict):
            raise PoolError(f"{folder / 'pool.json'}: 'merge' must name parameters of merge methods and their values")
        self._loaded: dict[str, str] = {}

    @classmethod
    def load(cls, reference: str | Path, device: str = "cpu") -> ExpertPool:
        """Open a pool.

        Args:
            reference: ``"builtin"``, ``"demo-lm"`` (a small language model for trying things out, which knows no real
                text), a folder, or the id of a model-hub repository that holds a pool's files.
            device: Torch device for the base model.

        Raises:
            PoolError: If there is no such pool.
        """
        if reference in SHIPPED:
            return cls(shipped(str(reference)), device)
        path = Path(reference)
        if not path.exists() and isinstance(reference, str) and _HUB_ID.fullmatch(reference):
            return cls(_download(reference), device)
        if not path.is_dir():
            raise PoolError(f"no pool at {str(reference)!r}: give 'builtin', a folder or a hub id (owner/name)")
        return cls(path, device)

    @classmethod
    def create(cls, folder: Path, base: Path, merge: Mapping[str, Any] | None = None) -> ExpertPool:
        """Make an empty pool over a copy of a base model's folder.

        Args:
            folder: Of the pool.
            base: Folder of the base model.
            merge: Parameters of merge methods that suit its experts.

        Raises:
            SamnerError: If the folder exists.
            ModelError: If ``base`` is not a base model.
        """
        if not (base / "base.json").is_file():
            raise ModelError(f"{base / 'base.json'}: no such file, so {base} is not a base model")
        with atomic_folder(folder) as temporary:
            shutil.copytree(base, temporary / "base")
            (temporary / "experts").mkdir()
            description = {"format": 1, "base": "base"} | ({"merge": dict(merge)} if merge else {})
            write_json(temporary / "pool.json", description)
        return cls(folder)

    @cached_property
    def backbone(self) -> Backbone:
        """The base model, loaded on first use."""
        return load_backbone(self.base_folder, self.device)

    @property
    def experts(self) -> Mapping[str, ExpertCard]:
        """The cards of all experts by name, read anew from the folder, in the order of their names."""
        return {card.name: card for card in self._cards()}

    def _cards(self) -> Iterator[ExpertCard]:
        root = self.folder / "experts"
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if folder.name.startswith("."):
                continue  # half-written by a process that was killed, or one at work now
            try:
                card = ExpertCard.read(folder)
            except PoolError:
                if not folder.exists():
                    continue  # removed between the listing and the reading
                raise
            if card.name != folder.name:
                raise PoolError(f"{folder / CARD}: is named {card.name!r}, its folder {folder.name!r}")
            yield card

    def expert_folder(self, name: str) -> Path:
        """Where an expert's files are.

        Raises:
            PoolError: If the pool has no expert of that name.
        """
        folder = inside(self.folder / "experts", check_name(name))
        if not (folder / CARD).is_file():
            known = ", ".join(self.experts) or "none"
            raise PoolError(f"{self.folder} has no expert {name!r}; it has: {known}")
        return folder

    def baseline_folder(self, name: str) -> Path:
        """Where a baseline's files are.

        Raises:
            PoolError: If the pool has no baseline of that name.
        """
        root = self.folder / "baselines"
        folder = inside(root, check_name(name))
        if not (folder / CARD).is_file():
            known = ", ".join(sorted(card.parent.name for card in root.glob(f"*/{CARD}"))) or "none"
            raise PoolError(f"{self.folder} has no baseline {name!r}; it has: {known}")
        return folder

    def adapter(self, name: str) -> LoraAdapter:
        """An expert's adapter as low-rank factors, for merging.

        Raises:
            PoolError: If there is no such expert, its files are damaged, or it was trained on another base.
            ModelError: If it is not an adapter that can be merged.
        """
        folder, _ = self._sound(self.expert_folder(name))
        return LoraAdapter.load(folder, name)

    def load_experts(self, names: Iterable[str]) -> None:
        """Register experts with the base model, so that it can answer as each of them.

        Raises:
            PoolError, ModelError: As ``adapter``.
        """
        for name in names:
            self._register(name, *self._sound(self.expert_folder(name)))

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
        if self._loaded.get(model) != digest:
            self._loaded.pop(model, None)
            self.backbone.remove(model)
            self.backbone.add_expert(model, folder, card.types)
            self._loaded[model] = digest

    def _sound(self, folder: Path) -> tuple[Path, ExpertCard]:
        card = ExpertCard.read(folder)
        if problem := next(_file_problems(folder, card), None):
            raise PoolError(problem)
        if card.base != self.backbone.fingerprint:
            raise PoolError(f"{folder}: was trained on another base model than the one in {self.base_folder}")
        return folder, card

    def add(self, source: Path, name: str | None = None) -> ExpertCard:
        """Copy an expert's folder, as ``samner train`` writes it, into the pool.

        Raises:
            PoolError: If the name is taken, a file is missing or its checksum is wrong, or it was trained on another
                base.
            ModelError: If the adapter cannot be read or does not fit the base.
        """
        card = ExpertCard.read(source)
        problems = list(_file_problems(source, card)) + list(self._fit_problems(source, card))
        if problems:
            raise PoolError(problems[0])
        target = inside(self.folder / "experts", check_name(name or card.name))
        if target.exists():
            raise PoolError(f"{self.folder} has an expert {target.name!r} already; remove it first or give a name")
        try:
            with atomic_folder(target) as temporary:
                for file in ADAPTER_FILES:
                    shutil.copyfile(source / file, temporary / file)
                files = {file: card.files[file] for file in ADAPTER_FILES}  # what else there is stays behind
                values = read_json(source / CARD) | {"name": target.name, "files": files}
                write_json(temporary / CARD, values)
        except (OSError, SamnerError) as error:
            if target.exists():
                raise PoolError(f"{self.folder} got an expert {target.name!r} from elsewhere just now") from error
            raise
        return ExpertCard.read(target)

    def remove(self, name: str) -> None:
        """Delete an expert.

        Raises:
            PoolError: If the pool has none of that name.
        """
        folder = self.expert_folder(name)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            os.replace(folder, aside)
        except FileNotFoundError as error:
            raise PoolError(f"the expert {name!r} was removed from {self.folder} from elsewhere just now") from error
        finally:
            shutil.rmtree(aside)

    def verify(self) -> list[str]:
        """Check every file's checksum and every adapter against the base; returns the problems, one line each."""
        try:
            # anew, whatever was loaded before
            self.__dict__["backbone"], self._loaded = load_backbone(self.base_folder, self.device), {}
        except SamnerError as error:
            return [str(error)]
        problems = []
        roots = [root for root in (self.folder / "experts", self.folder / "baselines") if root.is_dir()]
        for folder in [folder for root in roots for folder in sorted(root.iterdir())]:
            if folder.name.startswith("."):
                problems.append(f"{folder}: left over from an interrupted change; it can be deleted")
                continue
            try:
                card = ExpertCard.read(folder)
                if card.name != folder.name:
                    problems.append(f"{folder / CARD}: is named {card.name!r}, its folder {folder.name!r}")
                problems += list(_file_problems(folder, card)) or list(self._fit_problems(folder, card))
            except SamnerError as error:
                problems.append(str(error))
        return problems

    def _fit_problems(self, folder: Path, card: ExpertCard) -> Iterator[str]:
        if card.base != self.backbone.fingerprint:
            yield f"{folder}: was trained on another base model than the one in {self.base_folder}"
            return
        try:
            adapter = LoraAdapter.load(folder, card.name)
        except ModelError as error:
            yield str(error)
            return
        shapes = self.backbone.module_shapes()
        for module, factors in adapter.factors.items():
            if shapes.get(module) != factors.shape:
                have = shapes.get(module, "no such module")
                yield f"{folder}: adapts {module} as {factors.shape}, the base has {have}"


def _file_problems(folder: Path, card: ExpertCard) -> Iterator[str]:
    for name in ADAPTER_FILES:
        if name not in card.files:
            yield f"{folder / CARD}: lists no checksum of {name}"
    for name, digest in card.files.items():
        path = inside(folder, name)
        if not path.is_file():
            yield f"{path}: missing"
        elif sha256(path) != digest:
            yield f"{path}: damaged or changed, its SHA-256 is not the one in {CARD}"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix not in _ALLOWED_SUFFIXES or path.is_symlink()):
            yield f"{path}: only plain {', '.join(_ALLOWED_SUFFIXES)} files belong in an expert"


def _download(reference: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # a folder of its own, because the hub's cache holds links out of the folder, which a pool refuses
    folder = Path(constants.HF_HOME) / "samner" / reference.replace("/", "--")
    try:
        patterns = [f"*{suffix}" for suffix in (*_ALLOWED_SUFFIXES, *_BASE_SUFFIXES)]
        return Path(snapshot_download(reference, allow_patterns=patterns, local_dir=folder))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise PoolError(
            f"no folder {reference!r}, and it cannot be had from the hub ({type(error).__name__})"
        ) from error
