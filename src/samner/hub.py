"""The model hub: repositories fetched into its cache, and folders given to it, each as one commit.

What is fetched is what models are made of (``files.MODEL_FILES``): no pickle, no code, and nothing is run. The cache
is that of ``huggingface_hub``: a file that is there is not fetched again, one whose connection broke is continued, and
revisions share what they have in common. A repository at a commit is written ``owner/name@commit``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samner.display import brief, reason
from samner.errors import HubError
from samner.files import LEGAL, MODEL_FILES, sha256, write_json

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""What the id of a repository on the model hub looks like."""

_REFERENCE = re.compile(rf"(?P<repository>{HUB_ID.pattern})(@(?P<revision>(?!.*\.\.)\w[\w./-]*))?")
_CACHED = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOSTS_OWN = (".gitattributes", "README.md")
_FOLDERS = ("base", "experts", "baselines")
"""Of pools and saved models: what stands there in a repository and is not given again is deleted."""
_AGAIN = "; nothing is changed there, and what was uploaded is kept: push again"


def is_reference(reference: object) -> bool:
    """Whether it looks like a repository's id, ``owner/name``, maybe with a revision, ``owner/name@revision``."""
    return isinstance(reference, str) and _REFERENCE.fullmatch(reference) is not None


def pinned(reference: str | Path, revision: str | None) -> str | Path:
    """The reference with a revision, ``owner/name@revision``, if one is given.

    Raises:
        HubError: If what is given one is not the id of a repository.
    """
    if revision is None:
        return reference
    if not isinstance(reference, str) or not HUB_ID.fullmatch(reference):
        raise HubError(f"a revision is of a repository of the hub (owner/name), which {brief(str(reference))} is not")
    if not is_reference(f"{reference}@{revision}"):
        raise HubError(f"{brief(revision)} is no revision: give a commit, tag or branch")
    return f"{reference}@{revision}"


def source(folder: Path) -> str | None:
    """The repository and commit (``owner/name@commit``) that a folder of the hub's cache holds; else none."""
    cached = _CACHED.fullmatch(folder.parent.parent.name)
    if cached is None or folder.parent.name != "snapshots" or not _COMMIT.fullmatch(folder.name):
        return None
    return f"{cached['owner']}/{cached['name']}@{folder.name}"


def download(reference: str | Path) -> Path:
    """The files of a repository that samner reads, in the hub's cache.

    Args:
        reference: Its id, maybe with a commit, tag or branch: ``owner/name@revision``.

    Raises:
        HubError: If they cannot be had.
    """
    repository, revision = _parts(reference)
    return _download(repository, revision)


def download_to(folder: Path, reference: str) -> None:
    """``download`` into a folder of one's own, with ``source.json``, which says of which commit the files are."""
    repository, revision = _parts(reference)
    _download(repository, revision, local_dir=folder)
    # beside each file huggingface_hub notes, in its first line, the commit that it is of
    notes = folder / ".cache" / "huggingface"
    commits = {note.read_text(encoding="utf-8").split("\n", 1)[0] for note in notes.rglob("*.metadata")}
    shutil.rmtree(notes.parent, ignore_errors=True)
    if len(commits) == 1:
        write_source(folder, f"{repository}@{commits.pop()}")


def write_source(folder: Path, source: str) -> None:
    """Keep in a folder (``source.json``) which repository and commit its files are of."""
    repository, _, commit = source.partition("@")
    write_json(folder / "source.json", {"hub": repository, "commit": commit})


def _parts(reference: str | Path) -> tuple[str, str | None]:
    match = _REFERENCE.fullmatch(str(reference))
    if match is None:
        raise HubError(
            f"{brief(str(reference))} is not a repository of the hub; give OWNER/NAME, or OWNER/NAME@REVISION"
        )
    return match["repository"], match["revision"]


def _download(repository: str, revision: str | None, **where: Any) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [f"*{end}" for end in (*MODEL_FILES, *LEGAL)]
    with _explained(repository, revision):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, **where))


def check(folder: Path) -> None:
    """Check a download in the hub's cache, which names each file by its digest; what is damaged is dropped there.

    Raises:
        HubError: If a file is not what the hub said.
    """
    damaged = []
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        if path.is_symlink() and blob.is_file() and blob.name not in (sha256(blob), _git_digest(blob)):
            path.unlink()
            blob.unlink()
            damaged.append(path.relative_to(folder).as_posix())
    if damaged:
        raise HubError(
            f"{source(folder)}: {', '.join(damaged)} came damaged, or was damaged since; it was dropped from the "
            "hub's cache: get it again"
        )


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
        ) from error
    except errors.HFValidationError as error:
        raise HubError(f"{brief(repository)} is not the id of a repository on the hub; give OWNER/NAME") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        at = f"@{revision}" if revision else ""
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE is set"
        else:
            why = f"the hub cannot be reached ({type(error.__cause__ or error).__name__})"
        raise HubError(
            f"{repository}{at}: {why}" + ("" if writing else ", and it is not whole on this machine")
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            why = f"your token may not {'write' if writing else 'read'} there; give HF_TOKEN another, or log in anew"
        elif status in (409, 412) and writing:
            why = "it was changed from elsewhere meanwhile; look at it, and push again"
        else:
            why = f"the hub answered {status}" + (_AGAIN if writing else "")
        raise HubError(f"{repository}: {why}") from error
    except ValueError as error:  # such as a file's name that leads outside
        raise HubError(f"{repository}: cannot be {'written' if writing else 'taken'} ({reason(error)})") from error
    except (errors.HTTPError, OSError, RuntimeError) as error:  # type: ignore[attr-defined]
        doing = (
            f"the upload stopped{_AGAIN}"
            if writing
            else "the download stopped; files that arrived are kept: get it again"
        )
        raise HubError(f"{repository}: {doing} ({reason(error)})") from error


def _git_digest(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()
