"""A store of JSON values in one SQLite file, which several processes and threads may use at once."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samner.errors import SamnerError

LIMIT = 2**31
"""Bytes that a store holds unless told otherwise."""

_TABLE = """
CREATE TABLE IF NOT EXISTS kept (namespace TEXT, key TEXT, value BLOB, bytes INTEGER, written REAL,
                                 PRIMARY KEY (namespace, key))
"""


class Cache:
    """Values, each in a namespace under the digest of its key.

    A key holds all that decides its value, checksums of weights and texts among it: what was made of others has
    another key, is never found again, and in time makes room for newer values.

    Args:
        path: Of the file; made, with its folder, if missing.
        limit: Bytes it may hold; what was written first goes first.

    Raises:
        SamnerError: If the file cannot be opened or is no such store; also on every use.

    Example:
        >>> cache = Cache(Path("kept.sqlite"))  # doctest: +SKIP
        >>> cache.put("answers", {"model": "9f3c", "texts": "11e0"}, [1, 2])  # doctest: +SKIP
        >>> cache.get("answers", {"model": "9f3c", "texts": "11e0"})  # doctest: +SKIP
        [1, 2]
    """

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self.path = path
        self.limit = limit
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            file.execute("PRAGMA journal_mode=WAL")  # who reads need not wait for who writes
            file.execute(_TABLE)

    def get(self, namespace: str, key: Any) -> Any | None:
        """The value under a key; none if there is none, or it is damaged."""
        with self._open() as file:
            row = file.execute(
                "SELECT value FROM kept WHERE namespace=? AND key=?", (namespace, digest(key))
            ).fetchone()
        try:
            return json.loads(zlib.decompress(row[0])) if row else None
        except (zlib.error, ValueError, TypeError):
            return None

    def put(self, namespace: str, key: Any, value: Any) -> None:
        """Keep a value of JSON types, in place of what was under the key."""
        packed = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 5)
        with self._open() as file:
            row = (namespace, digest(key), packed, len(packed), time.time())
            file.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", row)
            self._prune(file)

    def _prune(self, file: sqlite3.Connection) -> None:
        """Forget the oldest values until the others take at most ``limit`` bytes."""
        (held,) = file.execute("SELECT COALESCE(SUM(bytes), 0) FROM kept").fetchone()
        if held > self.limit:
            for row, size in file.execute("SELECT rowid, bytes FROM kept ORDER BY written").fetchall():
                file.execute("DELETE FROM kept WHERE rowid=?", (row,))
                if (held := held - size) <= self.limit:
                    break

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: SQLite's may not be shared by threads nor outlive a fork."""
        try:
            file = sqlite3.connect(self.path, timeout=60)
            try:
                file.execute("PRAGMA synchronous=OFF")  # after a power cut, all of it can be made again
                with file:
                    yield file
            finally:
                file.close()
        except sqlite3.Error as error:
            raise SamnerError(
                f"{self.path}: cannot be used as a store ({error}); if it is damaged, delete it"
            ) from error


def digest(value: Any) -> str:
    """Hex SHA-256 of JSON values, whatever the order of the keys of mappings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
