"""A case in a process of its own: ``python -m performance.merge.child MODULE FUNCTION JSON`` prints what it measured.

The function gets a :class:`Watch` and the parameters; what it answers is added to the measurements.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

import psutil

UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


class Watch:
    """Times what is inside its ``with`` block; notes memory before it and the most up to its end, in bytes."""

    def __init__(self) -> None:
        self.measured: dict[str, object] = {}
        self._reached: dict[str, float] = {}
        self._start = 0.0

    def __enter__(self) -> Watch:
        self.measured["before"] = psutil.Process().memory_info().rss
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        end = time.perf_counter()
        self.measured["seconds"] = end - self._start
        self.measured["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
        starts = [self._start, *self._reached.values()]
        self.measured["stages"] = {
            stage: reached - start for (stage, reached), start in zip(self._reached.items(), starts, strict=False)
        }

    def reached(self, stage: str, done: int = 0, total: int = 0) -> None:
        """A stage is this far, or over; to be called as ``Merger`` calls its ``progress``."""
        self._reached[stage] = time.perf_counter()


def main() -> None:
    module, function, params = sys.argv[1:]
    watch = Watch()
    answer = getattr(importlib.import_module(module), function)(watch, **json.loads(params))
    print(json.dumps(watch.measured | (answer or {})))


if __name__ == "__main__":
    main()
