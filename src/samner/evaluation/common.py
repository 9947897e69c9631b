"""What every run over targets begins with: the targets asked for, folders to write to, and the pool."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from samner.adaptation import merge_parameters
from samner.errors import SamnerError
from samner.evaluation.config import Setup, Target
from samner.files import sha256
from samner.pool import ExpertPool
from samner.pool.card import CARD
from samner.task_model import versions

_Setup = TypeVar("_Setup", bound=Setup)


def chosen_targets(setup: Setup, only: Sequence[str]) -> list[Target]:
    """The targets of these names; all if there are none.

    Raises:
        SamnerError: If a name is not that of a target.
    """
    names = [target.name for target in setup.targets]
    for name in only:
        if name not in names:
            raise SamnerError(f"{setup.path}: has no target {name!r}; it has: {', '.join(names)}")
    return [target for target in setup.targets if not only or target.name in only]


def writable(folder: Path) -> None:
    """Make a folder, if it is missing, that files can be written to: better known before hours of work than after.

    Raises:
        SamnerError: If that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SamnerError(f"{folder}: cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise SamnerError(f"{folder}: may not be written to")


def with_pool(setup: _Setup, pool: str | None) -> _Setup:
    """A configuration with another pool than its file names, if one is given.

    Raises:
        PoolError: If there is no such pool: the file is not to blame then.
    """
    if pool is None:
        return setup
    ExpertPool.load(pool)
    return replace(setup, pool=pool)


def open_pool(setup: _Setup, device: str) -> tuple[ExpertPool, _Setup]:
    """The pool of a configuration, and the configuration with what the pool says of merging where it says nothing.

    Args:
        setup: Names the pool.
        device: Torch device, or a server, for the base model.

    Raises:
        SamnerError: If there is none.
    """
    try:
        pool = ExpertPool.load(setup.pool, device)
    except SamnerError as error:
        raise SamnerError(f"{setup.path}: pool: {error}") from error
    return pool, replace(setup, parameters=merge_parameters(pool, setup.method, setup.parameters))


def pool_state(pool: ExpertPool, baselines: Sequence[str]) -> list[Any]:
    """What of a pool decides any number, as JSON values: the base, experts and baselines, and library versions."""
    folders = {name: pool.expert_folder(name) for name in pool.experts}
    folders |= {f"baseline:{name}": pool.baseline_folder(name) for name in baselines}
    return [
        [pool.backbone.fingerprint, sha256(pool.base_folder / "base.json")],  # this one says what counts as found
        pool.merge,
        {name: sha256(folder / CARD) for name, folder in folders.items()},  # a card holds its files' checksums
        versions(),
    ]
