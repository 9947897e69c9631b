from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path

from transformers.utils import logging as its

from samner.quiet import quiet

ROOT = Path(__file__).parents[1]


def test_a_model_is_loaded_without_a_word() -> None:
    code = "import samner; samner.ExpertPool.load('builtin').backbone"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_afterwards_the_libraries_are_as_they_were() -> None:
    logger = logging.getLogger("transformers")
    before = logger.level, its.is_progress_bar_enabled(), list(warnings.filters)
    with quiet(), quiet():
        assert logger.level == logging.ERROR and not its.is_progress_bar_enabled()
        warnings.warn("unheard", FutureWarning, stacklevel=1)
    assert (logger.level, its.is_progress_bar_enabled(), list(warnings.filters)) == before
