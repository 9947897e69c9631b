"""What a benchmark keeps between runs: JSON values by the content that decides them."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from samner.files import atomic_file

_REVISION = 2
"""Raise it when something kept is computed otherwise than before."""


class Store:
    """Values in a folder, each under a digest of its key. One of other inputs has another key, so none is ever wrong.

    Args:
        folder: Made when something is kept.
        state: Part of every key: what all values depend on.
    """

    def __init__(self, folder: Path, state: Any) -> None:
        self.folder = folder
        self._state = digest([_REVISION, state])

    def get(self, kind: str, key: Any) -> Any | None:
        """The value kept under a key; none if there is none, or its file is damaged."""
        try:
            with gzip.open(self._path(kind, key), "rt", encoding="utf-8") as file:
                return json.load(file)
        except (OSError, EOFError, ValueError):  # gzip raises any of them for what is no gzip
            return None

    def put(self, kind: str, key: Any, value: Any) -> None:
        """Keep a value of JSON types under a key, in place of what was there."""
        text = json.dumps(value, separators=(",", ":"))
        with atomic_file(self._path(kind, key)) as temporary:
            temporary.write_bytes(gzip.compress(text.encode(), 5, mtime=0))

    def _path(self, kind: str, key: Any) -> Path:
        name = digest([self._state, key])
        return self.folder / kind / name[:2] / f"{name}.json.gz"


def digest(value: Any) -> str:
    """Hex SHA-256 of JSON values, whatever the order of the keys of mappings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
