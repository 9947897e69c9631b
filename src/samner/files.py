"""Files written whole or not at all, checksums, paths that stay inside their folder, and copies of what is known."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from samner.display import brief
from samner.errors import ModelError, SamnerError

MODEL_FILES = (".safetensors", ".json", ".md", ".jinja", ".model", ".tiktoken", ".txt", ".yaml")
"""Suffixes of what a base model is made of: weights, settings, tokenizer, prompt and card; no code, no pickles."""
LEGAL = ("LICENSE", "NOTICE", "USE_POLICY")
"""What the names of licences and the like begin with."""


def user_path(path: str | Path) -> Path:
    """The path with ``~`` and ``~name`` as the home folders that a shell takes them for.

    A file or folder whose own name begins with a tilde is named by its full path.

    Raises:
        SamnerError: If it is no path, or there is no such home.
    """
    try:
        if "\0" in str(path):
            raise SamnerError(f"{path!r} is no path: it holds a NUL")
        return Path(path).expanduser()
    except TypeError as error:
        raise SamnerError(f"a path is a string or a pathlib.Path, not {path!r}") from error
    except RuntimeError as error:
        raise SamnerError(f"{path}: there is no such home folder; write the path out") from error


def user_folder() -> Path:
    """Where samner keeps what belongs to its user: ``$SAMNER_HOME``, else below the user's cache."""
    if given := os.environ.get("SAMNER_HOME"):
        return user_path(given)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "samner"


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Let errors of a file that is written (a full disk, say) name it, which Python's own do not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``, else removed."""
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            yield temporary
            temporary.chmod(0o644)
            _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes the name ``path``, else it is removed.

    Raises:
        SamnerError: If ``path`` exists and ``overwrite`` is false, or it is not a folder.
    """
    path = user_path(path)
    if os.path.lexists(path) and not overwrite:
        raise SamnerError(f"{path} exists already; choose another name or remove it first")
    if os.path.lexists(path) and not path.is_dir():
        raise SamnerError(f"{path} is a file, not a folder; choose another name or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for inner in temporary.rglob("*"):  # temporary folders and safetensors are the owner's alone; a result is not
            if inner.is_dir():
                inner.chmod(0o755)
            elif inner.is_file():
                inner.chmod(0o644)
                _fsync(inner)
        if overwrite and path.exists():
            # rename cannot replace a folder that is not empty: move the old one aside, then drop it
            aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            os.replace(path, aside)
            try:
                os.replace(temporary, path)
            except BaseException:
                os.replace(aside, path)
                raise
            shutil.rmtree(aside)
        else:
            os.rename(temporary, path)
        _fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Around what writes to a folder below the user's, which need not lie where it does.

    Raises:
        SamnerError: If it cannot be written; says how to have it elsewhere.
    """
    try:
        yield
    except OSError as error:
        at = Path(str(error.filename or folder))
        if not (at.is_relative_to(folder.parent) or folder.is_relative_to(at)):
            raise
        raise SamnerError(
            f"{at}: cannot be written ({error.strerror or error}); set SAMNER_HOME to a folder where samner may keep "
            "what it makes"
        ) from error


def made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder below the user's, filled if it is not there: by one process at a time, while others wait for it.

    What was left by one that was killed at it is removed.

    Raises:
        SamnerError: If it cannot be written.
    """
    from filelock import FileLock

    if folder.is_dir():  # whole, as it was renamed into place
        return folder
    with keeping(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(".lock")):
            for left in folder.parent.glob(".*/"):
                shutil.rmtree(left, ignore_errors=True)
            if not folder.is_dir():
                with atomic_folder(folder) as temporary:
                    fill(temporary)
    return folder


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes, as long as this one lives, from writing a file or folder over a longer time.

    Raises:
        SamnerError: If one is at it, or there is no folder to write to.
    """
    from filelock import FileLock, Timeout

    if not path.parent.is_dir():
        raise SamnerError(f"there is no folder {path.parent} to write {path.name} to; make it first")
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SamnerError(f"another run is writing {path} just now; wait for it, or choose another name") from error
    try:
        yield
    finally:
        with suppress(OSError):  # where an open file cannot be removed it stays, and locks nothing
            Path(lock.lock_file).unlink()
        lock.release()


@contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """Around what writes a file or folder by the safetensors package, which tells of a full disk in its own way.

    Raises:
        ModelError: If it cannot be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ModelError(f"{path}: cannot be written ({next(iter(str(error).splitlines()), 'no reason')})") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically.

    Raises:
        ValueError: If it holds NaN or an infinity, for which JSON has no word.
    """
    with atomic_file(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        SamnerError: If the file is missing, is not UTF-8 JSON, or is not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))  # as editors on Windows write it
    except OSError as error:
        raise SamnerError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise SamnerError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise SamnerError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    return value


def check_format(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a file of samner's own whose format a later release made.

    Raises:
        ModelError: If ``format`` is another than 1.
    """
    if (said := content.get("format", 1)) != 1:
        raise ModelError(f"{path}: its format is {brief(said)}, and this release of samner reads format 1")


@contextmanager
def values_of(path: Path) -> Iterator[None]:
    """Name the file in errors that its values are the cause of, as a ``ModelError``."""
    try:
        yield
    except SamnerError as error:
        raise ModelError(f"{path}: {error}") from error.__cause__


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, name: str) -> Path:
    """``folder / name``, refused if that leads outside ``folder``.

    In the hub's cache, where files are links to the blobs of their repository, those count as inside.

    Raises:
        SamnerError: If ``name`` is absolute, climbs out of the folder, also through links, or cannot be followed.
    """
    try:
        path = (folder / name).resolve()
        looped = any(part.is_symlink() for part in (path, *path.parents))  # Python 3.13 leaves circles as they are
    except (OSError, RuntimeError, ValueError) as error:  # a link loop, before 3.13; a NUL
        raise SamnerError(f"{name!r} is not a path in {folder} ({error})") from error
    if looped:
        raise SamnerError(f"{name!r} is not a path in {folder}: its links lead in a circle")
    roots = [folder.resolve()] if ".." in Path(name).parts else _roots(folder)  # to the blobs only by a link
    if Path(name).is_absolute() or not any(path.is_relative_to(root) for root in roots):
        raise SamnerError(f"{name!r} leads outside {folder}")
    return folder / name


def model_files(folder: Path, suffixes: Sequence[str] = MODEL_FILES) -> Iterator[tuple[Path, str]]:
    """Every file below a folder of others, and what is wrong with it: nothing if it belongs there.

    A link is as good as what it points to, if that lies inside the folder or, as in the hub's cache, beside it among
    the blobs of the same repository. Links to folders are none of a model's files.
    """
    roots = _roots(folder)
    for place, folders, names in os.walk(folder):
        for path in [Path(place) / name for name in sorted(names)]:
            if path.is_symlink() and not any(_target(path).is_relative_to(root) for root in roots):
                yield path, f"{path}: is a link that leads outside {folder}"
            elif not path.is_file():
                yield path, f"{path}: is not a plain file"
            elif path.suffix not in suffixes and not path.name.startswith(LEGAL) and not _is_its_code(path):
                yield path, f"{path}: only plain {', '.join(suffixes)} files belong in here"
            else:
                yield path, ""
        folders.sort()
        yield from ((Path(place) / n, f"{Path(place) / n}: is a link") for n in folders if Path(place, n).is_symlink())


def copy_model(source: Path, target: Path) -> None:
    """Copy a folder of others: the kinds of files that a model is made of, as plain files; what else there is, not.

    Raises:
        SamnerError: If it holds a link that leads outside.
    """
    for path, problem in model_files(source):
        if path.is_symlink() and problem:
            raise SamnerError(f"{problem}; it is not copied")
        if not problem:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _is_its_code(path: Path) -> bool:
    """Whether it is code that a language model is made of, which is run only if the user allows it."""
    config = path.with_name("config.json")
    return path.suffix == ".py" and config.is_file() and "auto_map" in read_json(config)


def _roots(folder: Path) -> list[Path]:
    """Where files of a folder may lie: below it, and in the hub's cache among the blobs of its repository."""
    root = folder.resolve()
    for place in (root, *root.parents):
        blobs = place.parent.parent / "blobs"
        if place.parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink():
            return [root, blobs]
    return [root]


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return link


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
