"""Models are loaded without the progress bars, warnings and reports of the libraries that load them."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOUD = ("sentence_transformers", "transformers", "peft", "torch.onnx", "root")
_LOCK = threading.RLock()  # what is silenced belongs to the whole process: one at a time changes it and puts it back


@contextmanager
def quiet() -> Iterator[None]:
    """While a model is loaded, errors are all that the libraries say; afterwards they are as they were."""
    from transformers.utils import logging as its

    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = {name: logging.getLogger(name).level for name in _LOUD}
        bars = its.is_progress_bar_enabled()
        its.disable_progress_bar()
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                its.enable_progress_bar()
