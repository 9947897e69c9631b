"""Ray: extraction on many machines.

``extract`` gives a Ray dataset a column of entities. ``extract_files`` answers files, each a shard, and goes on where
it was stopped. Each worker is an actor that loads the model once; where one dies, Ray starts another and asks it anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from samner import arguments
from samner.data.formats.columnar import entities_type, library
from samner.display import reason
from samner.entities import LabelsLike, entity_types, to_fields
from samner.errors import SamnerError
from samner.files import user_path
from samner.integrations.shards import Job
from samner.spans import resolve
from samner.thresholds import ThresholdLike

try:
    import ray
    import ray.data
except ImportError as error:
    raise SamnerError(f"many machines need Ray: pip install 'samner[ray]' ({error})") from error

_BATCH = 256
_BLOCKS = 2000
"""Of a list of shards, at most: if a worker dies, what it had not done of its block is done by another."""


@contextmanager
def connected(address: str, workers: int | None = None) -> Iterator[None]:
    """Ray, as long as it is needed.

    Args:
        address: Of a cluster, as ``ray.init`` takes it; ``"local"`` starts one on this machine, for loopback alone.
        workers: Processors that one on this machine is given; all by default.

    Raises:
        SamnerError: If there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address == "local":
        quiet |= {"include_dashboard": False, "num_cpus": workers, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SamnerError(f"no Ray at {address!r} ({reason(error)})") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def extract(
    dataset: Any,
    model: str | Path,
    *,
    column: str = "text",
    into: str = "entities",
    labels: LabelsLike | None = None,
    threshold: ThresholdLike | None = None,
    overlaps: str = "flat",
    mode: str | None = None,
    workers: int | None = None,
    batch_size: int = _BATCH,
    device: str = "cpu",
) -> Any:
    """A Ray dataset with the entities of its texts in a column; nothing is done before it is consumed.

    Args:
        dataset: A ``ray.data.Dataset``.
        model: Folder of a model that ``samner adapt`` saved or ``samner export --to onnx`` wrote, which every machine
            has under this path.
        column: Of the texts.
        into: What to call the column of entities; one that is there is replaced.
        labels: As of ``TaskModel.predict``.
        threshold: As of ``TaskModel.predict``.
        overlaps: As of ``TaskModel.predict``.
        mode: As of ``TaskModel.predict``.
        workers: How many actors ask models; as many as Ray has processors by default.
        batch_size: Texts that an actor is given at a time.
        device: That models run on; of other than ``"cpu"``, each worker takes a GPU.

    Raises:
        SamnerError: If an argument is not valid or Ray is not there.
    """
    resolve((), overlaps)
    job = Job("", "", _folder(model), _labels(labels), threshold, overlaps, mode, device=device)
    return dataset.map_batches(
        _Batches,
        fn_constructor_kwargs={"job": job, "own": labels is None, "column": column, "into": into},
        batch_size=arguments.whole(batch_size, "batch_size", 1),
        batch_format="pyarrow",
        **_resources(workers, device),
    )


def extract_files(
    source: str | Path,
    out: str | Path,
    model: str | Path,
    *,
    labels: LabelsLike | None = None,
    threshold: ThresholdLike | None = None,
    overlaps: str = "flat",
    mode: str | None = None,
    format: str | None = None,
    to: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    on_shards: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Answer files of texts, each a shard, with as many files of answers; what is done already is not done again.

    Args:
        source: A folder (a path, or a URI as ``s3://bucket/texts``) or one file, that every machine can read.
        out: A folder that every machine can write, new or of the same call before.
        model: As of ``extract``.
        labels: As of ``extract``.
        threshold: As of ``extract``.
        overlaps: As of ``extract``.
        mode: As of ``extract``.
        format: Of the texts; told by each file by default.
        to: ``"jsonl"``, ``"parquet"`` or ``"arrow"``; by default that of the texts, or else JSON Lines.
        workers: As of ``extract``.
        device: As of ``extract``.
        on_shards: Called with the number of shards to do, and then with 1 for each that is done.

    Returns:
        The manifest, which is also in ``out`` as ``_samner/manifest.json``: every shard, its answers, and the SHA-256
        of both.

    Raises:
        SamnerError: If an argument is not valid, ``out`` holds answers of another model, other settings or other
            texts, or a shard could not be done; all others are done then.
    """
    resolve((), overlaps)
    places = _place(source), _place(out), _folder(model)
    job = Job(*places, _labels(labels), threshold, overlaps, mode, format, to, device)
    loaded = job.load()
    if labels is None:
        job = replace(job, labels=_labels(loaded.types))
    loaded.predict(["."], job.types, threshold=threshold, overlaps=overlaps, mode=mode)  # refuses what cannot be asked
    digest, todo = job.digest(loaded), job.todo(loaded)
    del loaded
    tell = on_shards or (lambda _: None)
    tell(len(todo))
    failed = []
    if todo:
        shards = ray.data.from_items([{"shard": name} for name in todo], override_num_blocks=min(len(todo), _BLOCKS))
        arguments_of = {"job": job, "digest": digest}
        done = shards.map(_Shards, fn_constructor_kwargs=arguments_of, **_resources(workers, device))
        for row in done.iter_rows():
            failed += [row["error"]] if row["error"] else []
            tell(1)
    return job.finish(failed)


class _Batches:
    """An actor that answers batches."""

    def __init__(self, job: Job, own: bool, column: str, into: str) -> None:
        self.job, self.column, self.into = job, column, into
        self.model = self.job.load()
        self.types = self.model.types if own else self.job.types

    def __call__(self, table: Any) -> Any:
        pyarrow = library("")
        job, texts = self.job, table[self.column].to_pylist()
        answers = self.model.predict(texts, self.types, threshold=job.threshold, overlaps=job.overlaps, mode=job.mode)
        found = [[to_fields(entity, text) for entity in its] for text, its in zip(texts, answers, strict=True)]
        column = pyarrow.array(found, entities_type())
        if self.into in table.column_names:
            table = table.drop_columns([self.into])
        return table.append_column(self.into, column)


class _Shards:
    """An actor that answers shards."""

    def __init__(self, job: Job, digest: str) -> None:
        self.job = job
        self.model = self.job.load()
        self.other = "" if self.job.digest(self.model) == digest else f"{self.job.model}: is another model here"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """What is wrong with a shard is told, so that it does not end the rest."""
        name, error = row["shard"], self.other
        if not error:
            try:
                self.job.do(name, self.model)
            except SamnerError as refused:
                error = str(refused)
        return {"shard": name, "error": error}


def _labels(labels: LabelsLike | None) -> tuple[tuple[str, str], ...]:
    return () if labels is None else tuple((t.name, t.description) for t in entity_types(labels))


def _place(place: str | Path) -> str:
    """A URI, or a path that is the same wherever a worker runs."""
    return str(place) if "://" in str(place) else _folder(place)


def _folder(model: str | Path) -> str:
    return str(user_path(model).absolute())


def _resources(workers: int | None, device: str) -> dict[str, Any]:
    """How many actors there are, and what each takes."""
    if not ray.is_initialized():
        raise SamnerError("Ray is not there: call ray.init() first, or ray.init('auto') for a cluster")
    gpus = 0 if device == "cpu" else 1
    there = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
    count = max(1, there) if workers is None else arguments.whole(workers, "workers", 1)
    return {"compute": ray.data.ActorPoolStrategy(size=count), "num_cpus": 1, "num_gpus": gpus}
