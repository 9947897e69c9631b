from __future__ import annotations

import resource
import subprocess
import sys

import samner
from tests.public_surface import FILE, surface

HEAVY = ("torch", "transformers", "peft", "sentence_transformers", "datasets", "safetensors", "numpy", "pyarrow")


def test_no_public_name_changes_unannounced() -> None:
    assert surface() == FILE.read_text("utf-8"), "if that is meant, run `make surface` and tell users in CHANGELOG.md"


def test_every_public_name_is_there() -> None:
    assert all(hasattr(samner, name) for name in samner.__all__)
    assert dir(samner) == sorted(samner.__all__)


def test_importing_samner_imports_nothing_heavy() -> None:
    assert run(f"import samner; print(*[name for name in {HEAVY} if name in sys.modules])").strip() == ""


def test_the_help_comes_at_once() -> None:
    # of processor time, which other processes do not lengthen as they do the time it takes; the aim is 0.4 s where
    # Python itself needs 0.02 s to start
    python = min(seconds("pass") for _ in range(3))
    help = min(seconds("sys.argv = ['samner', '--help']; from samner.cli import main; main()") for _ in range(3))
    assert help < 20 * max(python, 0.02)


def run(code: str) -> str:
    line = f"import sys; sys.path.insert(0, {str(FILE.parents[1] / 'src')!r}); {code}"
    return subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout


def seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
