"""Extraction of many files, each a shard: what is to be done, what is done, and one shard by itself.

A shard is an input file, and its answers are one output file of the same name. The output appears whole or not at all,
and then the shard's record beside it, in ``_samner/shards``: so a shard without a record is done again, whoever was
killed when, and one with a record never is. Folders may be on a disk or in an object store.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from samner.data import iter_examples
from samner.data.datasets import write_found
from samner.data.formats.columnar import library
from samner.data.formats.registry import format_of_suffix
from samner.entities import EntityType, Example
from samner.errors import SamnerError
from samner.files import sha256, user_path, write_json
from samner.recogniser import Recogniser
from samner.runtime import ExportedModel, is_exported
from samner.thresholds import ThresholdLike

WRITTEN = ("jsonl", "parquet", "arrow")
_KEPT = "_samner"
_JOB, _MANIFEST = f"{_KEPT}/job.json", f"{_KEPT}/manifest.json"
_TEXTS = 256


class Folder:
    """A folder of a disk or of an object store that pyarrow knows; may also be a single file to read.

    Args:
        place: A path, or a URI as ``s3://bucket/texts``.

    Raises:
        SamnerError: If it is a URI of no kind that is known.
    """

    def __init__(self, place: str) -> None:
        library(place)
        from pyarrow import fs

        self.place = place
        self.local: Path | None = None
        with _naming(place):
            self._system, path = _opened(place)
            if isinstance(self._system, fs.LocalFileSystem):
                self.local = Path(path)
            self._only = ""
            if self._system.get_file_info(path).is_file:
                path, _, self._only = path.rpartition("/")
        self._path = path.rstrip("/")

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of each file, by name; hidden ones and those of ``_samner`` are left out.

        Raises:
            SamnerError: If it cannot be read.
        """
        from pyarrow.fs import FileSelector

        if self._only:
            return {self._only: self.changed(self._only)}
        with _naming(self.place):
            infos = self._system.get_file_info(FileSelector(self._path, recursive=True, allow_not_found=True))
        named = {info.path.removeprefix(f"{self._path}/"): info for info in infos if info.is_file}
        return {
            name: (info.size, info.mtime_ns or 0)
            for name, info in sorted(named.items())
            if not any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
        }

    def changed(self, name: str) -> tuple[int, int]:
        """Size and time of change of a file."""
        with _naming(f"{self._path}/{name}"):
            info = self._system.get_file_info(f"{self._path}/{name}")
        return info.size or 0, info.mtime_ns or 0

    def holds(self, other: Folder) -> bool:
        """Whether another folder is this one or lies in it."""
        return self._system.equals(other._system) and f"{other._path}/".startswith(f"{self._path}/")

    def read(self, name: str) -> Any:
        """The JSON value of a file; None if there is none."""
        path = f"{self._path}/{name}"
        with _naming(path):
            if not self._system.get_file_info(path).is_file:
                return None
            with self._system.open_input_stream(path) as file:
                return json.loads(file.read())

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """A file of it on this disk, as long as it is needed."""
        if self.local:
            yield Path(self._path) / name
            return
        with TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            place = f"{self._path}/{name}"
            with _naming(place), self._system.open_input_stream(place) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
            yield path

    @contextmanager
    def filling(self, name: str) -> Iterator[Path]:
        """A path to write a file of it to, which appears there whole when it is written, or not at all."""
        if self.local:
            target = Path(self._path) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            left = re.compile(
                rf"\.{re.escape(target.name)}\.\w{{8}}"
            )  # by a worker that died, as samner.files names it
            for path in target.parent.iterdir():
                if left.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            yield target  # what is written is written by samner.files
            return
        with TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            yield path
            place = PurePosixPath(self._path) / name
            with _naming(str(place)):
                self._system.create_dir(str(place.parent), recursive=True)
                aside = str(place.with_name(f".{place.name}.{uuid4().hex}"))
                with path.open("rb") as source, self._system.open_output_stream(aside) as target_file:
                    shutil.copyfileobj(source, target_file)
                self._system.move(aside, str(place))

    def write(self, name: str, value: Any) -> None:
        """Write a file of JSON."""
        with self.filling(name) as path:
            write_json(path, value)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with every shard.

    Args:
        source: Folder or file of texts.
        out: Folder of answers.
        model: Folder of a model that ``samner adapt`` saved or ``samner export --to onnx`` wrote.
        labels: Names and descriptions of the types to look for.
        threshold: As of ``TaskModel.predict``.
        overlaps: As of ``TaskModel.predict``.
        mode: As of ``TaskModel.predict``.
        format: Of the texts; told by each file if None.
        to: Of the answers: one of ``WRITTEN``; that of the texts, or else JSON Lines, if None.
        device: That the model runs on.
    """

    source: str
    out: str
    model: str
    labels: tuple[tuple[str, str], ...]
    threshold: ThresholdLike | None = None
    overlaps: str = "flat"
    mode: str | None = None
    format: str | None = None
    to: str | None = None
    device: str = "cpu"

    @property
    def types(self) -> tuple[EntityType, ...]:
        """The types to look for."""
        return tuple(EntityType(*label) for label in self.labels)

    def load(self) -> Recogniser:
        """The model; torch is loaded only for one that needs it."""
        if is_exported(self.model):
            return ExportedModel.load(self.model)
        from samner.task_model import TaskModel

        return TaskModel.load(self.model, self.device)

    def digest(self, model: Recogniser) -> str:
        """Equal for jobs whose answers to a text are equal."""
        return model.digest(self.types, threshold=self.threshold, mode=self.mode, overlaps=self.overlaps)

    def todo(self, model: Recogniser) -> list[str]:
        """Names of the shards that are not done, after the job is noted in the folder of answers.

        Raises:
            SamnerError: If there are no texts, the folder holds something else, or answers of another model, other
                settings or other texts.
        """
        source, out = Folder(self.source), Folder(self.out)
        if self.to is not None and self.to not in WRITTEN:
            raise SamnerError(f"answers of shards are written as {', '.join(WRITTEN)}, not as {self.to!r}")
        if source.holds(out):
            raise SamnerError(f"{self.out} lies in {self.source}, which is read; name another folder for answers")
        if not (shards := source.files()):
            raise SamnerError(f"{self.source}: holds no file of texts")
        files = Counter(self._file(name)[0] for name in shards)
        if twice := next((file for file, times in files.items() if times > 1), None):
            raise SamnerError(f"{self.source}: the answers of two files would both be {twice}; rename one of them")
        job = {
            "model or settings": self.digest(model),
            "texts": self.source,
            "format of texts": self.format,
            "format of answers": self.to,
            "labels": dict(self.labels),
            "thresholds": self.threshold,
        }
        noted = out.read(_JOB)
        if noted is None:
            if out.files():
                raise SamnerError(f"{self.out} holds other files; name a new folder")
            out.write(_JOB, job)
        elif changed := [key for key in job if noted.get(key) != job[key]]:
            raise SamnerError(
                f"{self.out} holds answers of a run with other {changed[-1]}; name a new folder, or ask as before"
            )
        done = self._records(out)
        self._check(done, shards, source, out.files())
        return [name for name in shards if name not in done]

    def _check(
        self,
        done: Mapping[str, Any],
        shards: Mapping[str, tuple[int, int]],
        source: Folder,
        there: Mapping[str, tuple[int, int]],
    ) -> None:
        """That what is done is of the shards as they are, and is there."""
        for name, record in done.items():
            if name not in shards:
                raise SamnerError(f"{self.source}: {name} is gone, of which {self.out} holds answers; put it back")
            if [*shards[name]] != record["changed"]:
                with source.fetched(name) as path:
                    if sha256(path) != record["sha256"]:
                        raise SamnerError(
                            f"{self.source}: {name} was changed since it was answered; name a new folder for answers"
                        )
            answers = record["answers"]
            if there.get(answers["file"], (None,))[0] != answers["size"]:
                raise SamnerError(
                    f"{self.out}: {answers['file']} is gone or was changed; remove {_record(name)} in it, so that it "
                    "is made again"
                )

    def _file(self, name: str) -> tuple[str, str]:
        """Name and format of the answers of a shard."""
        own = format_of_suffix(Path(name))
        to = self.to or (own if own in WRITTEN else None) or "jsonl"
        return (name if own == to else f"{name}.{to}"), to

    def _records(self, out: Folder) -> dict[str, Any]:
        folder = Folder(f"{self.out.rstrip('/')}/{_KEPT}/shards")
        records = (folder.read(name) for name in folder.files())
        return {record["shard"]: record for record in records}

    def do(self, name: str, model: Recogniser) -> dict[str, Any]:
        """Answer one shard.

        Returns:
            Its record.

        Raises:
            SamnerError: If it cannot be read or written.
        """
        source, out = Folder(self.source), Folder(self.out)
        if (done := out.read(_record(name))) is not None:
            return dict(done)
        file, to = self._file(name)
        counts = [0, 0]
        changed = source.changed(name)
        with source.fetched(name) as path:
            before = sha256(path)
            with out.filling(file) as target:
                write_found(self._found(path, model, counts), target, to, source=path, source_format=self.format)
                answers = {"file": file, "size": target.stat().st_size, "sha256": sha256(target)}
        record = {
            "shard": name,
            "changed": [*changed],
            "sha256": before,
            "answers": answers,
            "texts": counts[0],
            "entities": counts[1],
        }
        out.write(_record(name), record)
        return record

    def _found(self, path: Path, model: Recogniser, counts: list[int]) -> Iterator[Example]:
        texts = iter_examples(path, self.format, labelled=False)
        while some := list(islice(texts, _TEXTS)):
            answers = model.predict(
                [one.text for one in some],
                self.types,
                threshold=self.threshold,
                overlaps=self.overlaps,
                mode=self.mode,
            )
            counts[0] += len(some)
            counts[1] += sum(map(len, answers))
            yield from (Example(one.text, tuple(its), one.meta) for one, its in zip(some, answers, strict=True))

    def finish(self, failed: Sequence[str] = ()) -> dict[str, Any]:
        """Write the manifest: of each shard what it was, what its answers are, and their checksums.

        Args:
            failed: What is wrong with shards that could not be done.

        Raises:
            SamnerError: If there are such.
        """
        out = Folder(self.out)
        records = self._records(out)
        manifest = {
            **asdict(self),
            "texts": sum(record["texts"] for record in records.values()),
            "entities": sum(record["entities"] for record in records.values()),
            "shards": [records[name] for name in sorted(records)],
        }
        out.write(_MANIFEST, manifest)
        if failed:
            others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise SamnerError(f"{failed[0]}{others}; all other shards are done, and the same command does the rest")
        return manifest


def _record(name: str) -> str:
    return f"{_KEPT}/shards/{name}.json"


def _opened(place: str) -> tuple[Any, str]:
    """The file system of a place, and the path there."""
    from pyarrow import ArrowInvalid, fs

    if "://" not in place:
        return fs.LocalFileSystem(), user_path(place).absolute().as_posix()
    try:
        system, path = fs.FileSystem.from_uri(place)
    except ArrowInvalid:  # of no kind that pyarrow knows by itself
        from fsspec.core import url_to_fs

        try:
            system, path = url_to_fs(place)
        except ImportError as error:
            raise SamnerError(f"{place}: {error}") from error
        system = fs.PyFileSystem(fs.FSSpecHandler(system))
    return system, path


@contextmanager
def _naming(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        said = re.sub(r"\s+", " ", str(error))
        raise SamnerError(f"{place}: cannot be read or written ({said})") from error
