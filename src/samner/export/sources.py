"""The adapters that go into a merge, with what is known of them: base, checksums, data and licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samner.errors import ModelError
from samner.files import read_json, sha256
from samner.lora import LoraAdapter
from samner.pool.card import ADAPTER_FILES, CARD, DataSource, ExpertCard


@dataclass(frozen=True, eq=False)
class Source:
    """A PEFT adapter folder, or an expert of a pool.

    Args:
        adapter: Its factors.
        folder: Where it is.
        causal: Whether it is of a causal language model by its configuration.
        files: SHA-256 of its files by name.
        card: Its card, if it is an expert.
    """

    adapter: LoraAdapter
    folder: Path
    causal: bool
    files: Mapping[str, str]
    card: ExpertCard | None

    @classmethod
    def read(cls, folder: Path) -> Source:
        """Read an adapter; if there is a card, its checksums must be right.

        Raises:
            ModelError: If a file is missing or damaged, or the adapter cannot be merged.
            PoolError: If the card cannot be read.
        """
        if not folder.is_dir():
            raise ModelError(f"{folder}: no such folder; name a PEFT adapter's, or an expert with --pool POOL")
        adapter = LoraAdapter.load(folder)
        config_file, _ = ADAPTER_FILES
        config = read_json(folder / config_file)
        files = {name: sha256(folder / name) for name in ADAPTER_FILES}
        card = ExpertCard.read(folder) if (folder / CARD).is_file() else None
        for name, digest in files.items():
            if card and card.files.get(name) != digest:
                raise ModelError(f"{folder / name}: damaged or changed, its SHA-256 is not the one in {CARD}")
        return cls(adapter, folder, config.get("task_type") == "CAUSAL_LM", files, card)

    @property
    def data(self) -> tuple[DataSource, ...]:
        """The data sets it was trained on, as far as its card tells."""
        return self.card.data if self.card else ()

    def to_dict(self, weight: float) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "name": self.adapter.name,
            "weight": weight,
            "base": self.adapter.base,
            "files": dict(self.files),
            "data": [{"name": source.name, "licence": source.licence} for source in self.data],
        }


def named_base(sources: Sequence[Source]) -> str | None:
    """The base model that the adapters name, if any does; that they agree is checked when they are merged."""
    return next((source.adapter.base for source in sources if source.adapter.base), None)


def check_fingerprints(sources: Sequence[Source]) -> None:
    """Refuse experts whose cards tell of different base models.

    Raises:
        ModelError: If there are such.
    """
    carded = [(source.folder, source.card.base) for source in sources if source.card]
    for folder, base in carded[1:]:
        if base != carded[0][1]:
            raise ModelError(f"{folder}: was trained on another base model than {carded[0][0]}")
