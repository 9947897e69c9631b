"""Adaptations as jobs: one after the other in a thread, stopped between steps, their models kept by the catalog."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from weakref import ref

from samner.adaptation import adapt
from samner.entities import EntityType
from samner.errors import SamnerError
from samner.serving.catalog import Catalog
from samner.serving.errors import ApiError
from samner.serving.metrics import Metrics
from samner.task_model import TaskModel

log = logging.getLogger(__name__)

Status = Literal["waiting", "running", "done", "failed", "cancelled"]
_ENDED_KEPT = 100
"""Ended jobs that can still be asked for."""


_PATIENCE = 5.0
"""Seconds that a server which stops waits for the step that is being done; its outcome is lost either way."""


class _Cancelled(Exception):
    pass


@dataclass
class Job:
    """An adaptation, what became of it, and why. It holds its texts only until it ends.

    Args:
        id: By which it is asked for.
        model: The name of the model that it makes.
        pool: The name of the pool.
        types: To adapt to.
        options: More arguments of ``samner.adapt``.
        texts: To adapt to.
    """

    id: str
    model: str
    pool: str
    types: tuple[EntityType, ...]
    options: Mapping[str, Any]
    texts: Sequence[str]
    status: Status = "waiting"
    step: str = "waiting for earlier jobs"
    error: str | None = None
    result: dict[str, Any] | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float | None = None
    reference: ref[TaskModel] | None = None
    cancelling: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def made(self) -> TaskModel | None:
        """The model, as long as it is served or read."""
        return self.reference() if self.reference else None


class Jobs:
    """Adapts pools, one job at a time.

    Args:
        catalog: Has the pools, and gets the models.
        metrics: Where ended jobs are counted.
        most: Jobs that may wait or run.
    """

    def __init__(self, catalog: Catalog, metrics: Metrics, most: int) -> None:
        self.catalog = catalog
        self.metrics = metrics
        self.most = most
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: deque[Job] = deque()
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="samner-jobs", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are taken."""
        return self._thread.is_alive() and not self._closing

    def submit(
        self,
        model: str | None,
        pool: str,
        texts: Sequence[str],
        types: tuple[EntityType, ...],
        options: Mapping[str, Any],
    ) -> Job:
        """Take a job.

        Args:
            model: The name of the model to make; none for one of its own.
            pool: The name of the pool.
            texts: To adapt to.
            types: To adapt to.
            options: More arguments of ``samner.adapt``.

        Raises:
            ApiError: If too many wait, or the model's name is taken.
        """
        with self._change:
            if self._closing:
                raise ApiError(503, "the server is stopping")
            going = [job for job in self._jobs.values() if not job.ended.is_set()]
            if len(going) >= self.most:
                raise ApiError(429, f"{self.most} jobs wait or run; try again later", retry_after=10)
            if model in self.catalog.names() or any(job.model == model for job in going):
                raise ApiError(409, f"there is a model {model!r} already, or one in the making", "name")
            id = secrets.token_hex(8)
            job = Job(id, model or f"adapted-{id}", pool, types, dict(options), texts)
            self._jobs[job.id] = job
            for old in [old.id for old in self._jobs.values() if old.ended.is_set()][:-_ENDED_KEPT]:
                del self._jobs[old]
            self._queue.append(job)
            self._change.notify()
            return job

    def get(self, id: str) -> Job:
        """A job that is under way, or ended not long ago.

        Raises:
            ApiError: If there is none.
        """
        with self._change:
            if id not in self._jobs:
                raise ApiError(404, f"there is no job {id!r}; only the last {_ENDED_KEPT} that ended are kept", "id")
            return self._jobs[id]

    def all(self) -> list[Job]:
        """All jobs that are kept, oldest first."""
        with self._change:
            return list(self._jobs.values())

    def cancel(self, id: str) -> Job:
        """End a job before its next step; of one that is done, drop the model.

        Raises:
            ApiError: If there is none.
        """
        job = self.get(id)
        job.cancelling.set()
        with self._change:
            if job in self._queue:
                self._queue.remove(job)
                self._end(job, "cancelled")
        if job.status == "done":
            self.catalog.drop(job.model, job.made)
        return job

    def close(self) -> None:
        """Take no more jobs, and end those that were taken before their next step: what they make would go, too."""
        with self._change:
            self._closing = True
            for job in self._jobs.values():
                job.cancelling.set()
            while self._queue:
                self._end(self._queue.popleft(), "cancelled")
            self._change.notify()
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        while job := self._next():
            self._run(job)

    def _next(self) -> Job | None:
        with self._change:
            while not self._queue and not self._closing:
                self._change.wait()
            return self._queue.popleft() if self._queue else None

    def _run(self, job: Job) -> None:
        def step(name: str) -> None:
            if job.cancelling.is_set():
                raise _Cancelled
            job.step = name

        job.status, started = "running", time.perf_counter()
        try:
            pool = self.catalog.pool(job.pool)[1]
            model = adapt(pool, job.texts, job.types, on_step=step, **job.options)
            step("making the weights")
            for merge in model.merges.values():
                model.backbone.prepare(merge.model)
            step("done")
            job.result = {
                "labels": [{"name": t.name, "description": t.description} for t in model.types],
                "mode": model.mode,
                "threshold": model.threshold,
                "merges": {name: dict(merge.experts) for name, merge in model.merges.items()},
                "selections": {name: selection.to_dict() for name, selection in model.selections.items()},
                "settings": dict(model.settings),
                "warnings": list(model.warnings),
            }
            job.reference = ref(model)
            self.catalog.keep(job.model, model)
            status: Status = "done"
        except _Cancelled:
            status = "cancelled"
        except (SamnerError, ApiError) as error:
            status, job.error = "failed", str(error)
        except Exception:
            log.exception("the job %s failed", job.id)
            status, job.error = "failed", "a fault in samner; the server's log has it"
        job.seconds = time.perf_counter() - started
        self._end(job, status)

    def _end(self, job: Job, status: Status) -> None:
        job.texts = ()
        job.status, job.step = status, status
        self.metrics.jobs.labels(status).inc()
        job.ended.set()
