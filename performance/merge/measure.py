"""Runs a case in a fresh process. Imports nothing large: a child counts its parent's memory as its own at first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """What a case measured, or why it could not."""

    seconds: float = float("nan")
    before: int = 0
    peak: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def answer(command: Sequence[str], environment: Mapping[str, str]) -> Any:
    """The JSON that a process prints last.

    Raises:
        SystemExit: With the last line of its errors, if it fails.
    """
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or [f"{command[0]}: failed"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def run(case: str, *, python: str | Path = sys.executable, **params: object) -> Result:
    """Run ``module.function`` of this package with some parameters in a process of its own."""
    module, _, function = case.rpartition(".")
    command = [
        str(python),
        "-m",
        "performance.merge.child",
        f"performance.merge.{module}",
        function,
        json.dumps(params),
    ]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        killed = f"ended by signal {-done.returncode}; is there enough memory?"
        failure = killed if done.returncode < 0 else done.stderr.strip().splitlines()[-1]
        print(f"{case}: failed after {took:.1f} s\n{done.stderr}", file=sys.stderr, flush=True)
        return Result(failure=failure)
    answer = json.loads(done.stdout.splitlines()[-1])
    own = {name: answer.pop(name) for name in ("seconds", "before", "peak", "stages") if name in answer}
    result = Result(answer=answer, **own)
    print(f"{case}: {result.seconds:.2f} s measured, {took:.1f} s in all", file=sys.stderr, flush=True)
    return result
