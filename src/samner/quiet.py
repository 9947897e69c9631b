"""Models are loaded without the progress bars, warnings and reports of the libraries that load them."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOUD = ("transformers", "peft", "torch.onnx", "root")
_LOCK = threading.RLock()  # what is silenced belongs to the whole process: one at a time changes it and puts it back


@contextmanager
def quiet() -> Iterator[None]:
    """While a model is loaded, errors are all that the libraries say; afterwards they are as they were."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = {name: logging.getLogger(name).level for name in _LOUD}
        its = _transformers()
        bars = its.is_progress_bar_enabled() if its else not are_progress_bars_disabled()
        # which transformers, once imported, goes by
        (its.disable_progress_bar if its else disable_progress_bars)()
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                its = _transformers()
                (its.enable_progress_bar if its else enable_progress_bars)()


def _transformers() -> Any:
    """What transformers logs by, if anybody imported it: that takes longer than many a model does to load."""
    return sys.modules.get("transformers.utils.logging")
