"""Public repositories at one commit each, read out of git's own store: nothing of theirs is checked out or run.

Files of 4 MiB and more are not fetched and never read; the sets were built without them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from samner.errors import SamnerError
from samner.files import atomic_folder

LARGEST = 4 << 20
"""Bytes: a file of this size or more counts as not there."""

_NAME = re.compile(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# No question is asked. Old versions of git do not know that a missing file is not to be fetched on demand, hence
# ``_fetch`` also forgets where a repository came from.
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}


@dataclass(frozen=True)
class Repository:
    """One commit of a repository.

    Args:
        name: ``owner/name``.
        folder: Its git directory.
        commit: Of which the files are read.
    """

    name: str
    folder: Path
    commit: str

    @cached_property
    def _files(self) -> dict[str, str]:
        """The object of every plain file; links and submodules are none."""
        entries = _git(self.folder, "ls-tree", "-r", "-z", "--full-tree", self.commit, of=self.name)
        files = {}
        for entry in entries.decode("utf-8", "replace").split("\0")[:-1]:
            told, path = entry.split("\t", 1)
            mode, _, blob = told.split()
            if mode in ("100644", "100755"):
                files[path] = blob
        return files

    def paths(self, folder: str = "", pattern: str = "") -> list[str]:
        """The files below a folder (or the one file of that name) in which a regular expression is found, sorted."""
        return sorted(
            path
            for path in self._files
            if (not folder or path == folder or path.startswith(folder.rstrip("/") + "/")) and re.search(pattern, path)
        )

    def content(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            SamnerError: If there is none of that name at this commit, or it is too large.
        """
        if path not in self._files:
            raise SamnerError(f"{self.name}: has no file {path} at commit {self.commit[:12]}")
        for _, content in self.contents([path]):
            return content
        raise SamnerError(f"{self.name}: {path} is too large or was not fetched; files of 4 MiB and more are not read")

    def contents(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Path and content of those of the files that are there and not too large."""
        wanted = {path: self._files[path] for path in paths}
        sizes = _git(self.folder, "cat-file", "--batch-check", of=self.name, given=_lines(wanted.values()))
        small = {}
        for (path, blob), told in zip(wanted.items(), sizes.decode().splitlines(), strict=True):
            if not told.endswith(" missing") and int(told.split()[2]) < LARGEST:
                small[path] = blob
        command = [*_command(self.folder), "cat-file", "--batch"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_ENVIRONMENT}
        ) as process:
            assert process.stdin and process.stdout
            for path, blob in small.items():
                process.stdin.write(_lines([blob]))
                process.stdin.flush()
                size = int(process.stdout.readline().split()[2])
                yield path, process.stdout.read(size)
                process.stdout.read(1)
            process.stdin.close()


@dataclass(frozen=True)
class Repositories:
    """Where repositories are had from: fetched into a folder, or git directories that are there already.

    Args:
        commits: Of each repository the commit that is read.
        cache: Where what is fetched is kept.
        mirrors: A folder of git directories ``owner+name`` or ``owner+name/repo``, to read instead of fetching.
        host: What is fetched is ``host/owner/name``.
    """

    commits: Mapping[str, str]
    cache: Path
    mirrors: Path | None = None
    host: str = "https://github.com"

    def open(self, name: str) -> Repository:
        """The repository, fetched if it is not there yet.

        Raises:
            SamnerError: If it has no good name or commit in the table, or cannot be had.
        """
        commit = self.commits.get(name, "")
        if not _NAME.fullmatch(name) or not _COMMIT.fullmatch(commit):
            raise SamnerError(f"{name}: must be owner/name, with a commit of 40 digits (not {commit!r})")
        file_name = name.replace("/", "+")
        if self.mirrors is None:
            folder = self.cache / f"{file_name}@{commit[:12]}"
            if not folder.is_dir():
                self._fetch(name, commit, folder)
            return Repository(name, folder, commit)
        for inner in ("repo/.git", "repo", ".git", "."):
            folder = self.mirrors / file_name / inner
            if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
                _git(folder, "cat-file", "-e", f"{commit}^{{commit}}", of=f"{name} in {self.mirrors}: commit {commit}")
                return Repository(name, folder, commit)
        raise SamnerError(f"{self.mirrors}: has no git directory {file_name} (of {name})")

    def _fetch(self, name: str, commit: str, folder: Path) -> None:
        with atomic_folder(folder) as new:
            _git(new, "init", "--quiet", "--bare", of=name)
            _git(new, "remote", "add", "origin", f"{self.host}/{name}", of=name)
            slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
            wanted = ["--quiet", "--depth=1", "--no-tags", f"--filter=blob:limit={LARGEST}", "origin", commit]
            _git(new, *slow, "fetch", *wanted, of=f"{name} could not be fetched from {self.host}")
            _git(new, "remote", "remove", "origin", of=name)


def _command(folder: Path) -> list[str]:
    return ["git", "--git-dir", str(folder)]


def _git(folder: Path, *arguments: str, of: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(
            [*_command(folder), *arguments],
            input=given,
            capture_output=True,
            check=True,
            env={**os.environ, **_ENVIRONMENT},
        )
    except FileNotFoundError as error:
        raise SamnerError("git is needed to read the sources of data sets, and is not installed") from error
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["git does not say why"]
        raise SamnerError(f"{of}: {told[0].removeprefix('fatal: ')}") from error
    return done.stdout


def _lines(blobs: Iterable[str]) -> bytes:
    return "".join(f"{blob}\n" for blob in blobs).encode()
