"""An expert's card, ``expert.json``: what it knows, what it was trained on, and the checksums of its files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samner.embedding import MINILM
from samner.errors import PoolError
from samner.files import read_json, sha256, write_json

CARD = "expert.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data set an expert was trained on, with its licence as the source states it."""

    name: str
    licence: str = "not stated"
    texts: int = 0


@dataclass(frozen=True, slots=True)
class ExpertCard:
    """What the pool knows of an expert without loading its weights.

    Args:
        name: Unique in its pool; letters, digits, dot, dash, underscore.
        base: Fingerprint of the base model it was trained on.
        types: The entity types it was trained for.
        embedding: Its domain embedding: the normalised mean of the sentence embeddings of its training texts.
        embedding_model: Reference of the sentence encoder that made it.
        description: One line for people.
        data: The data sets it was trained on.
        training: Settings and outcome of the training.
        files: SHA-256 of the adapter's files by name.
    """

    name: str
    base: str
    types: tuple[str, ...]
    embedding: tuple[float, ...]
    embedding_model: str = MINILM
    description: str = ""
    data: tuple[DataSource, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.embedding or not all(map(math.isfinite, self.embedding)):
            raise PoolError(f"the domain embedding of {self.name!r} must be finite numbers, at least one")

    @property
    def vector(self) -> npt.NDArray[np.float32]:
        """The domain embedding as an array."""
        return np.asarray(self.embedding, dtype=np.float32)

    @classmethod
    def read(cls, folder: Path) -> ExpertCard:
        """Read the card in an expert's folder.

        Raises:
            PoolError: If there is none, or an entry is missing or of the wrong kind.
        """
        path = folder / CARD
        if not path.is_file():
            raise PoolError(f"{path}: no such file, so {folder} is not an expert")
        values = read_json(path)
        try:
            return cls(
                name=str(values["name"]),
                base=str(values["base"]),
                types=tuple(map(str, values["types"])),
                embedding=tuple(map(float, values["embedding"])),
                embedding_model=str(values["embedding_model"]),
                description=str(values["description"]),
                data=tuple(DataSource(**source) for source in values["data"]),
                training=dict(values["training"]),
                files={str(name): str(digest) for name, digest in values["files"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PoolError(f"{path}: not an expert's card ({type(error).__name__}: {error})") from error

    def write(self, folder: Path) -> ExpertCard:
        """Write the card beside the adapter's files, with their checksums; returns it as written."""
        files = {name: sha256(folder / name) for name in ADAPTER_FILES}
        values = asdict(self) | {"files": files}
        write_json(folder / CARD, {"format": 1, **values, "embedding": [round(x, 6) for x in self.embedding]})
        return ExpertCard.read(folder)


def check_name(name: str) -> str:
    """The name, if it may be used for an expert.

    Raises:
        PoolError: If it could not be a plain folder name everywhere, or means the base.
    """
    if not _NAME.fullmatch(name) or name == "base":
        raise PoolError(
            f"{name!r} cannot name an expert: use letters, digits, '.', '-' and '_', up to 100, not 'base'"
        )
    return name
