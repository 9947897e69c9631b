"""Before the first model: other packages made quiet, and the device."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from samner.cli.output import say, status
from samner.errors import SamnerError

if TYPE_CHECKING:
    from samner.pool import ExpertPool
    from samner.recogniser import Recogniser
    from samner.task_model import TaskModel


class _StandardError(logging.Handler):
    """Writes to what is standard error at that moment, so that a progress bar can move out of the way."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


_HANDLER = _StandardError()


def start(device: str, *, log: bool = False) -> str:
    """Import what the models need, without its chatter, and settle on a device.

    Args:
        device: As given: a torch device, a server, or ``"auto"``.
        log: Whether samner's own log, of a training for instance, is shown.

    Returns:
        The name of a device that works.

    Raises:
        SamnerError: If there is no such device here.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _silence_warnings()
    logger = logging.getLogger("samner")
    logger.setLevel(logging.INFO if log else logging.WARNING)
    if _HANDLER not in logger.handlers:
        logger.addHandler(_HANDLER)
    for name in ("transformers", "peft"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with status("loading libraries"):
        from samner.backbones import is_server, usable_device

        return device if is_server(device) else usable_device(device)


def open_pool(reference: str, device: str) -> ExpertPool:
    """The pool, its base model loaded."""
    from samner.pool import ExpertPool

    pool = ExpertPool.load(reference, device)
    with status("loading the base model"):
        pool.backbone  # noqa: B018 - loads it
    return pool


def open_recogniser(folder: Path, device: str) -> Recogniser:
    """A model that ``samner adapt`` saved, or one that ``samner export --to onnx`` wrote, which needs no torch.

    Raises:
        SamnerError: If there is none, or an exported one is to run on anything but a CPU.
    """
    if not (folder / "export.json").is_file():
        return open_model(folder, device)
    from samner.runtime import ExportedModel

    if device not in ("auto", "cpu"):
        raise SamnerError(f"{folder}: an exported model runs on the CPU, not on {device}")
    _silence_warnings()
    with status("loading the model"):
        return ExportedModel.load(folder)


def _silence_warnings() -> None:
    """Python's own, unless the user asked for them: what samner warns of, verbs say themselves."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def open_model(folder: Path, device: str) -> TaskModel:
    """A model that ``samner adapt`` saved."""
    device = start(device)
    from samner.task_model import TaskModel

    with status("loading the model"):
        return TaskModel.load(folder, device)
