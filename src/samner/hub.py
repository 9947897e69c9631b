"""The model hub: repositories fetched into its cache, and folders given to it, each as one commit.

What is fetched is what models are made of (``files.MODEL_FILES``): no pickle, no code, and nothing is run. The cache
is that of ``huggingface_hub``: what is there is not fetched again, an interrupted file is continued, and revisions
share what they have in common. A repository at a commit is written ``owner/name@commit``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samner.display import brief, reason
from samner.errors import HubError
from samner.files import LEGAL, MODEL_FILES, sha256

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""What the id of a repository on the model hub looks like."""

_REFERENCE = re.compile(rf"(?P<repository>{HUB_ID.pattern})(@(?P<revision>[^@\s]+))?")
_CACHED = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOSTS_OWN = (".gitattributes", "README.md")
_FOLDERS = ("base", "experts", "baselines")
"""Of pools and saved models: what stands there in a repository and is not given again is deleted."""
_AGAIN = "; nothing is changed there, and what was uploaded is kept: push again"


def parse(reference: object) -> tuple[str, str | None] | None:
    """A repository's id and its revision, of ``owner/name`` or ``owner/name@revision``; none if it is neither."""
    match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    return (match["repository"], match["revision"]) if match else None


def pinned(reference: str | Path, revision: str | None) -> str | Path:
    """The reference with a revision, ``owner/name@revision``, if one is given.

    Raises:
        HubError: If what is given one is not the id of a repository.
    """
    if revision is None:
        return reference
    if not isinstance(reference, str) or not HUB_ID.fullmatch(reference):
        raise HubError(f"a revision is of a repository of the hub (owner/name), which {brief(str(reference))} is not")
    if not parse(f"{reference}@{revision}"):
        raise HubError(f"{brief(revision)} is no revision: give a commit, tag or branch")
    return f"{reference}@{revision}"


def source(folder: Path) -> str | None:
    """The repository and commit (``owner/name@commit``) that a folder of the hub's cache holds; else none."""
    cached = _CACHED.fullmatch(folder.parent.parent.name)
    if cached is None or folder.parent.name != "snapshots" or not _COMMIT.fullmatch(folder.name):
        return None
    return f"{cached['owner']}/{cached['name']}@{folder.name}"


def download(repository: str, revision: str | None = None, *, to: Path | None = None) -> Path:
    """The files of a repository that samner reads.

    Args:
        repository: Its id.
        revision: A commit, tag or branch; the main branch by default.
        to: A folder to put them in; the hub's cache by default.

    Raises:
        HubError: If they cannot be had.
    """
    from huggingface_hub import snapshot_download

    where: dict[str, Any] = {} if to is None else {"local_dir": to}
    patterns = [*(f"*{suffix}" for suffix in MODEL_FILES), *(f"{name}*" for name in LEGAL)]
    with _explained(repository, revision):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, **where))


def drop_damaged(folder: Path) -> bool:
    """Delete from the hub's cache the files of a download that are not what the hub said, to be fetched anew.

    Returns:
        Whether there were any. The cache names each file by its digest.
    """
    damaged = False
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        if path.is_symlink() and blob.is_file() and blob.name not in (sha256(blob), _git_digest(blob)):
            path.unlink()
            blob.unlink()
            damaged = True
    return damaged


def upload(
    repository: str, files: Mapping[str, Path | bytes], marker: str, message: str, *, private: bool = False
) -> str:
    """Make a repository hold some files, in one commit: until it is made, the repository is as it was.

    What was uploaded before an interruption is not uploaded again. Files of an earlier upload that are not among
    these are deleted; what others put there (images, licences) stays.

    Args:
        repository: Its id; made if there is none.
        files: Path in the repository to a file or its content.
        marker: Which of them tells what the repository is: one that holds other things, but not this, is refused.
        message: Of the commit.
        private: Whether nobody else may see it.

    Returns:
        The repository and the commit, ``owner/name@commit``.

    Raises:
        HubError: If it cannot be done.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token

    if not HUB_ID.fullmatch(repository):
        raise HubError(f"{brief(repository)} is not the id of a repository on the hub; give OWNER/NAME")
    if not constants.HF_HUB_OFFLINE and not get_token():
        raise HubError(
            f"{repository}: the hub takes files from who is logged in; log in by 'hf auth login', or set HF_TOKEN"
        )
    api = HfApi(library_name="samner")
    with _explained(repository, None, writing=True):
        api.create_repo(repository, private=True if private else None, exist_ok=True)
        info = api.model_info(repository)
        there = {str(sibling.rfilename) for sibling in info.siblings or ()}
        if private and not info.private:
            raise HubError(f"{repository}: is there already and public; make it private on the hub, or leave it so")
        others = {name for name in there if name not in _HOSTS_OWN and not name.startswith(LEGAL)}
        if others and marker not in there:
            raise HubError(
                f"{repository}: holds something else ({brief(min(others))}, and no {marker}); give another name"
            )
        gone = sorted(name for name in others - set(files) if _is_ours(name))
        commit = api.create_commit(
            repository,
            [
                *(CommitOperationAdd(name, content) for name, content in sorted(files.items())),
                *(CommitOperationDelete(name, is_folder=False) for name in gone),
            ],
            commit_message=message,
            parent_commit=info.sha,  # so that an upload from elsewhere is not undone
        )
    return f"{repository}@{commit.oid}"


def _is_ours(name: str) -> bool:
    return name.endswith(".safetensors") or name.partition("/")[0] in _FOLDERS


@contextmanager
def _explained(repository: str, revision: str | None, *, writing: bool = False) -> Iterator[None]:
    """What goes wrong between here and the hub, each as one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(f"{repository}: its owner has to let you in first; ask on its page on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{repository}: the hub has no such repository, or does not show it to you; if it is private, log in by "
            "'hf auth login', or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{repository}: has no revision {brief(revision or 'main')}; give a commit, tag or branch"
        ) from (error)
    except errors.HFValidationError as error:
        raise HubError(f"{brief(repository)} is not the id of a repository on the hub; give OWNER/NAME") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        part = "only a part of it is" if isinstance(error, errors.IncompleteSnapshotError) else "it is not"
        at = f"@{revision}" if revision else ""
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE is set"
        else:
            why = f"the hub cannot be reached ({type(error.__cause__ or error).__name__})"
        raise HubError(f"{repository}{at}: {why}" + ("" if writing else f", and {part} on this machine")) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            why = f"your token may not {'write' if writing else 'read'} there; give HF_TOKEN another, or log in anew"
        elif status in (409, 412) and writing:
            why = "it was changed from elsewhere meanwhile; look at it, and push again"
        else:
            why = f"the hub answered {status}" + (_AGAIN if writing else "")
        raise HubError(f"{repository}: {why}") from error
    except (errors.HTTPError, OSError, RuntimeError, ValueError) as error:  # type: ignore[attr-defined]
        doing = f"the upload stopped{_AGAIN}" if writing else "the download stopped; the next one goes on from there"
        raise HubError(f"{repository}: {doing} ({reason(error)})") from error


def _git_digest(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()
