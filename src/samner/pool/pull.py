"""Pools and experts from the model hub, checked, and as folders of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samner import hub
from samner.errors import PoolError
from samner.files import atomic_folder, copy_model
from samner.pool.card import CARD, POOL_CARD, ExpertCard, changed_card
from samner.pool.checks import file_problems
from samner.pool.pool import ExpertPool


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was got.

    Args:
        source: Where it is from, ``owner/name@commit``.
        folder: Where it is.
        experts: The names of its experts.
        is_pool: Whether it is a pool; otherwise it is one expert, for ``ExpertPool.add``.
    """

    source: str
    folder: Path
    experts: tuple[str, ...]
    is_pool: bool


def pull(reference: str, *, revision: str | None = None, out: Path | None = None) -> Pulled:
    """Get a pool or an expert from the model hub, and check every file of it.

    Args:
        reference: The repository, ``owner/name`` or ``owner/name@revision``.
        revision: A commit, tag or branch; the main branch by default.
        out: The folder to make, for one's own changes. By default it stays in the hub's cache, where
            ``ExpertPool.load`` finds it, without the network too.

    Raises:
        HubError: If it cannot be had, or was damaged on the way.
        PoolError: If it is neither a pool nor an expert, or not whole.
        SamnerError: If ``out`` exists.
    """
    folder = hub.download(hub.pinned(reference, revision))
    source = hub.source(folder) or str(reference)
    hub.check(folder)
    is_pool = (folder / POOL_CARD).is_file()
    if is_pool:
        pool = ExpertPool(folder)
        experts, problems = tuple(pool.experts), pool.verify()
    elif (folder / CARD).is_file():
        card = ExpertCard.read(folder)
        experts, problems = (card.name,), list(file_problems(folder, card)) or list(changed_card(folder))
    else:
        raise PoolError(f"{reference}: the repository holds neither a pool ({POOL_CARD}) nor an expert ({CARD})")
    if problems:
        raise PoolError(f"{reference}: is not whole on the hub: {problems[0]}")
    if out is not None:
        with atomic_folder(out) as temporary:
            copy_model(folder, temporary)
            hub.write_source(temporary, source)
    return Pulled(source, out or folder, experts, is_pool)
