"""Which experts a pool's folder holds, and their cards, each read once for as long as its file stays the same."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from samner.errors import PoolError
from samner.files import inside, sha256
from samner.pool.card import CARD, EXPERTS, ExpertCard
from samner.pool.cards import Cards, Entry
from samner.pool.index import CardIndex

_INDEXED = 50
"""Experts from which a pool's cards are kept in the user's index: fewer are read from the folder in milliseconds."""
_SETTLED = 100_000_000
"""Nanoseconds that a file must be old to be known by its times: within a tick of their clock it may change unseen."""

_Stamp = tuple[int, ...]


class Listing:
    """The experts of a pool, as its folder is whenever it is asked; safe for threads.

    Args:
        folder: Of the pool.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = CardIndex(folder)
        self._entries: dict[str, tuple[_Stamp, Entry]] = {}
        self._digests: dict[str, tuple[_Stamp, str]] = {}

    def names(self) -> list[str]:
        """The names of all experts' folders, in order; no card is read.

        Raises:
            SamnerError: If they lie outside of the pool.
        """
        root = inside(self._folder, EXPERTS)
        if not root.is_dir():
            return []
        # what begins with a dot was half-written by a process that was killed, or is by one at work now
        return sorted(name for name in os.listdir(root) if not name.startswith("."))

    def cards(self) -> Cards:
        """The cards of all experts by name, in the order of their names.

        Raises:
            PoolError: If a card is missing or wrong, or not that of its folder.
            SamnerError: If one lies outside of the pool.
        """
        names = self.names()
        paths = {name: os.path.join(self._folder, EXPERTS, name, CARD) for name in names}
        stamps = {name: stamp for name, path in paths.items() if (stamp := _stamp(path))}
        kept = {name: self._entries.get(paths[name]) for name in stamps}
        known = {name: its[1] for name, its in kept.items() if its and its[0] == stamps[name]}
        large = len(names) >= _INDEXED
        if large and (unknown := {name: str(stamp) for name, stamp in stamps.items() if name not in known}):
            for name, recalled in self._index.get(unknown).items():
                known[name] = recalled
                self._entries[paths[name]] = (stamps[name], recalled)
        entries = {}
        for name in names:
            if name in known:
                entries[name] = known[name]
                continue
            folder = self._folder / EXPERTS / name
            try:
                entries[name] = self._entry(folder)
            except (PoolError, FileNotFoundError):
                if folder.exists():
                    raise
                # else removed between the listing and the reading
        for name, entry in entries.items():
            if entry.name != name:
                raise PoolError(f"{paths[name]}: is named {entry.name!r}, its folder {name!r}")
        if large and len(known) < len(entries):
            self._index.put(dict(self._settled(paths, entries.keys() - known.keys())), entries)
        if len(self._entries) > len(entries):
            for path in set(self._entries).difference(paths.values()):
                self._entries.pop(path, None)  # of those that are gone
        return Cards(entries)

    def card(self, folder: Path) -> ExpertCard:
        """The card in an expert's folder, anywhere in the pool.

        Raises:
            PoolError: If it is missing or wrong.
            SamnerError: If it lies outside of the pool.
        """
        return self._entry(folder).card

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file."""
        now, kept = _stamp(str(path)), self._digests.get(str(path))
        if kept is None or kept[0] != now:
            kept = (now or (), sha256(path))
            self._digests[str(path)] = kept
        return kept[1]

    def _entry(self, folder: Path) -> Entry:
        path = str(folder / CARD)
        now, kept = _stamp(path), self._entries.get(path)
        if now is None or kept is None or kept[0] != now:
            inside(self._folder, os.path.relpath(path, self._folder))
            kept = (now or (), Entry.of(ExpertCard.read(folder)))
            self._entries[path] = kept
        return kept[1]

    def _settled(self, paths: Mapping[str, str], names: Iterable[str]) -> Iterator[tuple[str, tuple[str, ExpertCard]]]:
        """Those of the cards just read whose files are known by their times, each with its stamp."""
        until = time.time_ns() - _SETTLED
        for name in names:
            stamp, entry = self._entries.get(paths[name], ((), None))
            if stamp and entry and max(*stamp[:2], *stamp[5:7]) < until:
                yield name, (str(stamp), entry.card)


def _stamp(path: str) -> _Stamp | None:
    """What tells a file from any other and any earlier one, of a link also the link; None if there is no such file."""
    try:
        status = os.lstat(path)
        its = [status, os.stat(path)] if stat.S_ISLNK(status.st_mode) else [status]
    except OSError:
        return None
    return tuple(n for s in its for n in (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino, s.st_dev))
