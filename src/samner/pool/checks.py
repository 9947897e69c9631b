"""What is wrong with an expert, its files by its card and the adapter by the base, and with how a pool merges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from samner.backbones import Backbone
from samner.errors import ModelError, SamnerError
from samner.files import inside, model_files, sha256
from samner.lora import LoraAdapter
from samner.merging import methods
from samner.merging.registry import suited
from samner.names import base_key, shown
from samner.pool.card import ADAPTER_FILES, CARD, POOL_CARD, ExpertCard, PoolCard, changed_card

_EXPERT_FILES = (".safetensors", ".json", ".md")


def expert_problems(folder: Path, card: ExpertCard, base: Backbone | None, base_folder: Path) -> list[str]:
    """What is wrong with an expert, one line each.

    Args:
        folder: Holds the expert.
        card: Its card.
        base: The base that it must fit; without, only the files are checked.
        base_folder: Where that is.
    """
    found = list(file_problems(folder, card))
    if base is not None:
        found = found or list(fit_problems(folder, card, base, base_folder))
    return found or list(changed_card(folder))


def file_problems(folder: Path, card: ExpertCard, digest: Callable[[Path], str] = sha256) -> Iterator[str]:
    """What is wrong with an expert's files, by its card."""
    yield from (problem for _, problem in model_files(folder, _EXPERT_FILES) if problem)
    for name in ADAPTER_FILES:
        if name not in card.files:
            yield f"{folder / CARD}: lists no checksum of {name}"
    for name, listed in card.files.items():
        path = inside(folder, name)
        if not path.is_file():
            yield f"{path}: missing"
        elif digest(path) != listed:
            yield f"{path}: damaged or changed, its SHA-256 is not the one in {CARD}"


def merge_problems(folder: Path) -> Iterator[str]:
    """Why nothing can be merged by the parameters that a pool's card names, if so.

    Args:
        folder: Of the pool.
    """
    merge = PoolCard.read(folder).merge
    try:
        for method in methods():
            suited(method, merge)
    except SamnerError as error:
        yield f"{folder / POOL_CARD}: {error}"


def fit_problems(
    folder: Path, card: ExpertCard, base: Backbone, base_folder: Path, same_base: Iterable[str] = ()
) -> Iterator[str]:
    """Why an expert's adapter does not fit a base, if it does not.

    Args:
        folder: Holds the expert.
        card: Its card.
        base: The base.
        base_folder: Where that is.
        same_base: As of ``ExpertPool.add``.
    """
    try:
        adapter = LoraAdapter.load(folder, card.name, fingerprint=card.base, checksums=card.files)
        if card.base != base.fingerprint:
            name = adapter.base or card.base[:16]
            if not any(base_key(name) in map(base_key, (said, *said.split("="))) for said in same_base):
                yield (
                    f"{folder}: was trained on another base model than the one in {base_folder}; if both are "
                    f"the same, add it with --same-base {shown(name)}"
                )
                return
        adapter.on_base(base.module_shapes())
    except ModelError as error:
        yield str(error) if str(folder) in str(error) else f"{folder}: {error}"
