"""Cards of large pools in one SQLite file of the user's, so that not each process has to parse a thousand anew.

Nothing depends on it: the truth is each expert's ``expert.json``. A card is taken from here only if its file is still
the one that was read and checked; what is missing, stale or damaged is read from the pool. It is no part of the pool,
which may be read-only, and is copied, pushed and verified without it.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from samner.errors import SamnerError
from samner.files import user_folder
from samner.pool.card import ExpertCard
from samner.pool.cards import Entry

_VERSION = zlib.crc32(",".join(("1", *ExpertCard.model_fields)).encode()) >> 1  # other fields of cards make another
_ANEW = f"BEGIN IMMEDIATE; DROP TABLE IF EXISTS cards; PRAGMA user_version={_VERSION}; COMMIT"
_TABLE = """
CREATE TABLE IF NOT EXISTS cards (pool TEXT, name TEXT, stamp TEXT, encoder TEXT, embedding BLOB, card BLOB,
                                  checksum INTEGER, PRIMARY KEY (pool, name))
"""
_COLUMNS = "pool, name, stamp, encoder, embedding, card, checksum"
_WAIT = 1  # seconds for another process that writes; reading a pool takes no longer
_UNUSABLE = (sqlite3.Error, OSError, SamnerError, UnicodeError)  # the last of paths, and of damaged names of columns


class CardIndex:
    """The index as one pool uses it; safe for threads and processes. Where it cannot be used, it knows nothing.

    Args:
        pool: The pool's folder.
    """

    def __init__(self, pool: Path) -> None:
        self._pool = str(pool.resolve())

    def get(self, stamps: Mapping[str, str]) -> dict[str, Entry]:
        """What it knows, by the experts' names.

        Args:
            stamps: For each expert that is asked for, what tells its card's file from any other and any earlier one.
        """
        query = f"SELECT {_COLUMNS} FROM cards WHERE pool=? AND name IN (SELECT value FROM json_each(?))"
        rows = []
        with suppress(*_UNUSABLE), _opened() as file:
            rows = file.execute(query, (self._pool, json.dumps(list(stamps)))).fetchall()
        found = {}
        for _, name, stamp, encoder, embedding, rest, checksum in rows:
            with suppress(TypeError, ValueError):
                if stamp == stamps.get(name) and checksum == _checksum(encoder, embedding, rest):
                    found[name] = Entry(name, encoder, embedding, rest)
        return found

    def put(self, cards: Mapping[str, tuple[str, ExpertCard]], experts: Collection[str]) -> None:
        """Keep cards that were read and checked.

        Args:
            cards: By the experts' names, each with the stamp of its file.
            experts: All that the pool has; others are forgotten, and so are pools that are gone.
        """
        rows = []
        for name, (stamp, card) in cards.items():
            entry = Entry.of(card)
            rest = card.model_copy(update={"embedding": (0.0,)}).model_dump_json().encode()
            content = (entry.encoder, entry.embedding, rest)
            rows.append((self._pool, name, stamp, *content, _checksum(*content)))
        try:
            with _opened() as file:
                pools = [(pool,) for (pool,) in file.execute("SELECT DISTINCT pool FROM cards").fetchall()]
                file.executemany("DELETE FROM cards WHERE pool=?", [row for row in pools if not Path(row[0]).is_dir()])
                known = {name for (name,) in file.execute("SELECT name FROM cards WHERE pool=?", (self._pool,))}
                gone = [(self._pool, name) for name in known.difference(experts)]
                file.executemany("DELETE FROM cards WHERE pool=? AND name=?", gone)
                file.executemany(f"INSERT OR REPLACE INTO cards ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except (*_UNUSABLE, TypeError) as error:
            if _is_damage(error):  # made anew by the next who has something to keep
                with suppress(OSError):
                    index_file().unlink()


def index_file() -> Path:
    """Where the index is; it may be deleted at any time."""
    return user_folder() / "cards.sqlite"


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """A connection for one transaction: SQLite's may not be shared by threads nor outlive a fork."""
    path = index_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_WAIT)) as file:
        file.execute("PRAGMA synchronous=OFF")  # after a power cut, all of it can be made again
        if file.execute("PRAGMA user_version").fetchone() != (_VERSION,):
            file.executescript(_ANEW)
        file.execute(_TABLE)
        with file:
            yield file


def _checksum(encoder: str, embedding: bytes, rest: bytes) -> int:
    return zlib.crc32(rest, zlib.crc32(embedding, zlib.crc32(encoder.encode())))


def _is_damage(error: Exception) -> bool:
    """Whether an error tells of a damaged file, not of one that is in use or read-only, a full disk or an odd path."""
    if isinstance(error, sqlite3.OperationalError):  # of no table or column of that name, or no text, only if damaged
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR
    return isinstance(error, (sqlite3.DatabaseError, UnicodeDecodeError, TypeError))
