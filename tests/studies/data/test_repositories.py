from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from samner.errors import SamnerError
from studies.data.repositories import LARGEST, Repositories
from tests.studies.data.repository import commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def opened(tmp_path: Path, pinned: str, name: str = "owner/name") -> Repositories:
    return Repositories({name: pinned}, tmp_path / "cache", tmp_path / "mirrors")


def test_files_are_those_of_the_pinned_commit(tmp_path: Path) -> None:
    folder = tmp_path / "mirrors/owner+name"
    first = commit(folder, {"a/x.txt": "one", "a/y.tsv": "two", "b.txt": "three", "ab.txt": ""})
    commit(folder, {"a/x.txt": "changed", "a/new.txt": ""})
    repository = opened(tmp_path, first).open("owner/name")
    assert repository.content("a/x.txt") == b"one"
    assert repository.paths() == ["a/x.txt", "a/y.tsv", "ab.txt", "b.txt"]
    assert repository.paths("a/") == ["a/x.txt", "a/y.tsv"]
    assert repository.paths("a/", r"\.txt$") == ["a/x.txt"]
    assert dict(repository.contents(["b.txt", "a/x.txt"])) == {"b.txt": b"three", "a/x.txt": b"one"}


def test_what_is_no_plain_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "mirrors/owner+name"
    commit(folder, {"small": b"s" * 10, "below": b"b" * (LARGEST - 1), "large": b"l" * LARGEST})
    (folder / "link").symlink_to("/etc/passwd")
    repository = opened(tmp_path, commit(folder, {})).open("owner/name")
    assert repository.paths() == ["below", "large", "small"]
    assert [path for path, _ in repository.contents(repository.paths())] == ["below", "small"]
    with pytest.raises(SamnerError, match="owner/name: large is too large or was not fetched"):
        repository.content("large")
    for name in ("link", "../../secret", "/etc/passwd", "small/.."):
        with pytest.raises(SamnerError, match="has no file"):
            repository.content(name)


def test_a_repository_is_fetched_once_and_without_large_files(tmp_path: Path) -> None:
    origin = tmp_path / "host/owner/name"
    pinned = commit(origin, {"small": "s", "large": b"l" * LARGEST})
    commit(origin, {"small": "later"})
    repositories = Repositories({"owner/name": pinned}, tmp_path / "cache", host=f"file://{tmp_path}/host")
    assert repositories.open("owner/name").content("small") == b"s"
    kept = tmp_path / f"cache/owner+name@{pinned[:12]}"
    assert sum(file.stat().st_size for file in kept.rglob("*") if file.is_file()) < LARGEST / 2
    shutil.rmtree(origin)
    again = repositories.open("owner/name")
    assert dict(again.contents(again.paths())) == {"small": b"s"}
    with pytest.raises(SamnerError, match="was not fetched"):
        again.content("large")


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    repositories = Repositories({"owner/name": "0" * 40}, tmp_path / "cache", host=f"file://{tmp_path}/host")
    with pytest.raises(SamnerError, match="owner/name could not be fetched from file://.*host: ") as caught:
        repositories.open("owner/name")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_mirror_must_have_the_commit(tmp_path: Path) -> None:
    commit(tmp_path / "mirrors/owner+name", {"a": "b"})
    with pytest.raises(SamnerError, match="owner/name in .*mirrors: commit 0{40}"):
        opened(tmp_path, "0" * 40).open("owner/name")
    with pytest.raises(SamnerError, match=r"has no git directory owner\+other"):
        opened(tmp_path, "0" * 40, "owner/other").open("owner/other")


@pytest.mark.parametrize("name", ["../name", "owner/../name", "owner", "--upload-pack=x/y", "owner/name/more"])
def test_a_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(SamnerError, match="must be owner/name"):
        opened(tmp_path, "0" * 40, name).open(name)


@pytest.mark.parametrize("pinned", ["HEAD", "--help", "", "0" * 39])
def test_a_commit_is_told_in_full(tmp_path: Path, pinned: str) -> None:
    with pytest.raises(SamnerError, match="commit of 40 digits"):
        opened(tmp_path, pinned).open("owner/name")


def test_without_git_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SamnerError, match="git is needed"):
        Repositories({"owner/name": "0" * 40}, tmp_path / "cache").open("owner/name")
