"""mergekit's TIES on ``base+adapter`` models, from folders to a folder. Runs in an environment without samner."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from performance.merge.child import Watch


def merge(watch: Watch, paths: Sequence[str], base: str, dtype: str, density: float, save: str) -> None:
    """Merge; the time includes that it writes every adapter out as a full model first."""
    models = [{"model": f"{base}+{path}", "parameters": {"weight": 1.0, "density": density}} for path in paths]
    config = MergeConfiguration.model_validate(
        {"merge_method": "ties", "base_model": base, "dtype": dtype, "models": models}
    )
    with tempfile.TemporaryDirectory() as cache, watch:
        options = MergeOptions(
            lora_merge_cache=cache,
            lora_merge_dtype=dtype,
            copy_tokenizer=False,
            quiet=True,
        )
        run_merge(config, save, options)
