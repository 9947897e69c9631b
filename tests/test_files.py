from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner import files
from samner.errors import ModelError, SamnerError
from samner.files import (
    atomic_file,
    atomic_folder,
    exclusive,
    inside,
    read_json,
    sha256,
    user_path,
    write_json,
    writing_tensors,
)


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt: not an Exception."""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def old_folder(parent: Path) -> Path:
    path = parent / "model"
    (path / "nested").mkdir(parents=True)
    (path / "nested" / "old.txt").write_text("old")
    return path


class TestAtomicFile:
    def test_the_file_appears_only_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        with atomic_file(path) as temporary:
            temporary.write_text("whole")
            assert not path.exists()
            assert temporary.parent == path.parent
        assert path.read_text() == "whole"
        assert names(tmp_path) == {"a.txt"}

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        with atomic_file(tmp_path / "x" / "y" / "a.txt") as temporary:
            temporary.write_text("whole")
        assert (tmp_path / "x" / "y" / "a.txt").read_text() == "whole"

    def test_an_old_file_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        with atomic_file(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"

    @pytest.mark.parametrize("error", [ValueError, Interrupted])
    def test_a_failure_leaves_no_file(self, tmp_path: Path, error: type[BaseException]) -> None:
        with pytest.raises(error), atomic_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error
        assert names(tmp_path) == set()

    def test_a_failure_keeps_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(ValueError, match="stop"), atomic_file(path) as temporary:
            temporary.write_text("half")
            raise ValueError("stop")
        assert path.read_text() == "old"
        assert names(tmp_path) == {"a.txt"}

    def test_a_rename_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        folder = tmp_path / "taken"
        folder.mkdir()
        with pytest.raises(OSError), atomic_file(folder) as temporary:
            temporary.write_text("whole")
        assert names(tmp_path) == {"taken"}

    def test_others_may_read_the_file(self, tmp_path: Path) -> None:
        with atomic_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("whole")
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


class TestAtomicFolder:
    def test_the_folder_appears_only_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "model"
        with atomic_folder(path) as temporary:
            (temporary / "nested").mkdir()
            (temporary / "nested" / "a.txt").write_text("whole")
            assert not path.exists()
            assert temporary.parent == path.parent
        assert (path / "nested" / "a.txt").read_text() == "whole"
        assert names(tmp_path) == {"model"}
        assert path.stat().st_mode & 0o777 == 0o755

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        with atomic_folder(tmp_path / "x" / "model"):
            pass
        assert (tmp_path / "x" / "model").is_dir()

    def test_an_existing_folder_is_refused_before_any_work(self, tmp_path: Path) -> None:
        path = old_folder(tmp_path)
        with pytest.raises(SamnerError, match="exists already"), atomic_folder(path):
            pytest.fail("the body must not run")
        assert (path / "nested" / "old.txt").read_text() == "old"
        assert names(tmp_path) == {"model"}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_link_that_leads_nowhere_is_refused_before_any_work(self, tmp_path: Path, overwrite: bool) -> None:
        (tmp_path / "model").symlink_to("nowhere")
        with pytest.raises(SamnerError), atomic_folder(tmp_path / "model", overwrite=overwrite):
            pytest.fail("the body must not run")
        assert (tmp_path / "model").is_symlink()

    def test_overwriting_replaces_the_whole_folder(self, tmp_path: Path) -> None:
        path = old_folder(tmp_path)
        with atomic_folder(path, overwrite=True) as temporary:
            (temporary / "new.txt").write_text("new")
            assert (path / "nested" / "old.txt").exists()
        assert names(path) == {"new.txt"}
        assert names(tmp_path) == {"model"}

    def test_overwriting_what_is_not_there_just_writes(self, tmp_path: Path) -> None:
        with atomic_folder(tmp_path / "model", overwrite=True) as temporary:
            (temporary / "new.txt").write_text("new")
        assert names(tmp_path / "model") == {"new.txt"}

    def test_a_file_is_not_overwritten_by_a_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "model"
        path.write_text("mine")
        for overwrite in (True, False):
            with pytest.raises(SamnerError, match="choose another name"), atomic_folder(path, overwrite=overwrite):
                pytest.fail("the body must not run")
        assert path.read_text() == "mine"
        assert names(tmp_path) == {"model"}

    @pytest.mark.parametrize("error", [OSError, Interrupted])
    def test_when_the_new_folder_cannot_take_its_place_the_old_one_is_put_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        path = old_folder(tmp_path)
        replace, moves = os.replace, iter([True, False, True])

        def second_fails(source: Path, target: Path) -> None:
            if not next(moves):
                raise error("no")
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", second_fails)
        with pytest.raises(error), atomic_folder(path, overwrite=True) as temporary:
            (temporary / "new.txt").write_text("new")
        assert (path / "nested" / "old.txt").read_text() == "old"
        assert names(tmp_path) == {"model"}

    @pytest.mark.parametrize("error", [ValueError, Interrupted])
    def test_a_failure_leaves_no_folder(self, tmp_path: Path, error: type[BaseException]) -> None:
        with pytest.raises(error), atomic_folder(tmp_path / "model") as temporary:
            (temporary / "half.txt").write_text("half")
            raise error
        assert names(tmp_path) == set()

    def test_a_failure_keeps_the_old_folder(self, tmp_path: Path) -> None:
        path = old_folder(tmp_path)
        with pytest.raises(ValueError, match="stop"), atomic_folder(path, overwrite=True) as temporary:
            (temporary / "half.txt").write_text("half")
            raise ValueError("stop")
        assert (path / "nested" / "old.txt").read_text() == "old"
        assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_what_cannot_be_brought_to_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"), atomic(tmp_path / "a") as temporary:
        (temporary / "b" if temporary.is_dir() else temporary).write_text("whole")
    assert names(tmp_path) == set()


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"'.*/a\.json'$"):
        write_json(tmp_path / "a.json", {})


class TestJson:
    @given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
    def test_what_is_written_is_read_again(
        self, tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
    ) -> None:
        path = tmp_path_factory.mktemp("json") / "a.json"
        write_json(path, value)
        assert read_json(path) == value

    def test_it_is_readable_and_ends_with_a_newline(self, tmp_path: Path) -> None:
        write_json(tmp_path / "a.json", {"name": "Ångström"})
        assert (tmp_path / "a.json").read_bytes() == '{\n  "name": "Ångström"\n}\n'.encode()

    def test_a_value_that_is_no_json_keeps_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        write_json(path, {"old": 1})
        with pytest.raises(TypeError):
            write_json(path, {"new": object()})
        assert read_json(path) == {"old": 1}
        assert names(tmp_path) == {"a.json"}

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_numbers_that_json_has_no_word_for_are_refused(self, tmp_path: Path, value: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", {"score": [value]})
        assert names(tmp_path) == set()

    def test_a_mark_of_the_byte_order_is_none_of_the_value(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"a": 1}\r\n', encoding="utf-8-sig")
        assert read_json(tmp_path / "a.json") == {"a": 1}

    def test_nesting_without_end_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"a":' + "[" * 200_000 + "]" * 200_000 + "}")
        with pytest.raises(SamnerError, match=r"a\.json: not valid JSON"):
            read_json(tmp_path / "a.json")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match=r"a\.json: cannot be read \(No such file"):
            read_json(tmp_path / "a.json")

    def test_a_folder_is_not_read(self, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match="cannot be read"):
            read_json(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1} trailing', b'{"a": "\xff"}', b"\xff\xfe"])
    def test_what_is_not_json_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(SamnerError, match=r"a\.json: not valid JSON"):
            read_json(tmp_path / "a.json")

    @pytest.mark.parametrize(("value", "kind"), [([], "list"), ("text", "str"), (3, "int"), (None, "NoneType")])
    def test_what_is_not_an_object_is_refused(self, tmp_path: Path, value: object, kind: str) -> None:
        (tmp_path / "a.json").write_text(json.dumps(value))
        with pytest.raises(SamnerError, match=f"must hold a JSON object, not a {kind}"):
            read_json(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"", b"abc", os.urandom(300_000)], ids=["empty", "short", "long"])
def test_sha256_is_that_of_the_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


class TestInside:
    @pytest.mark.parametrize("name", ["a.txt", "x/a.txt", "x/../a.txt", "./a.txt", "..a", "not/there/yet"])
    def test_names_within_are_joined_to_the_folder(self, tmp_path: Path, name: str) -> None:
        assert inside(tmp_path, name) == tmp_path / name

    @pytest.mark.parametrize("name", ["..", "../x", "x/../../y", "/etc/passwd", "/"])
    def test_names_that_lead_out_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SamnerError, match="leads outside"):
            inside(tmp_path, name)

    def test_absolute_names_are_refused_wherever_they_lead(self, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match="leads outside"):
            inside(tmp_path, str(tmp_path / "a.txt"))

    def test_a_name_with_nul_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match="is not a path"):
            inside(tmp_path, "a\x00b")

    @pytest.mark.parametrize("name", ["loop", "loop/a.txt", "one"])
    def test_links_in_a_circle_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "one").symlink_to("other")
        (tmp_path / "other").symlink_to("one")
        with pytest.raises(SamnerError):
            inside(tmp_path, name)

    def test_a_sibling_with_the_same_beginning_is_outside(self, tmp_path: Path) -> None:
        (tmp_path / "pool").mkdir()
        (tmp_path / "pool-2").mkdir()
        with pytest.raises(SamnerError, match="leads outside"):
            inside(tmp_path / "pool", "../pool-2")

    @pytest.mark.parametrize("name", ["link", "link/a.txt", "link/not-there"])
    def test_links_that_lead_out_are_refused(self, tmp_path: Path, name: str) -> None:
        folder, outside = tmp_path / "pool", tmp_path / "outside"
        folder.mkdir()
        outside.mkdir()
        (outside / "a.txt").write_text("secret")
        (folder / "link").symlink_to(outside)
        with pytest.raises(SamnerError, match="leads outside"):
            inside(folder, name)

    def test_links_that_stay_within_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert inside(tmp_path, "link/a.txt") == tmp_path / "link" / "a.txt"

    def test_the_folder_itself_may_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "pool").symlink_to("real")
        assert inside(tmp_path / "pool", "a.txt") == tmp_path / "pool" / "a.txt"
        with pytest.raises(SamnerError, match="leads outside"):
            inside(tmp_path / "pool", "../a.txt")

    def test_a_relative_folder_will_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert inside(Path("pool"), "a.txt") == Path("pool/a.txt")
        with pytest.raises(SamnerError, match="leads outside"):
            inside(Path("pool"), "../a.txt")


def test_a_finished_folder_can_be_read_by_others(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "result") as temporary:
        (temporary / "sub").mkdir(mode=0o700)
        (temporary / "sub" / "file").touch(mode=0o600)
    sub = tmp_path / "result" / "sub"
    modes = [path.stat().st_mode & 0o777 for path in (sub, sub / "file")]
    assert modes == [0o755, 0o644]


class TestExclusive:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        with exclusive(tmp_path / "out"):
            with pytest.raises(SamnerError, match=r"another run is writing .*out"), exclusive(tmp_path / "out"):
                pass
            with exclusive(tmp_path / "other"):
                pass
        with exclusive(tmp_path / "out"):
            pass
        assert names(tmp_path) == set()

    def test_it_ends_with_its_process(self, tmp_path: Path) -> None:
        code = (
            "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "from pathlib import Path\nfrom samner.files import exclusive\n"
            "with exclusive(Path(sys.argv[2])):\n    os.kill(os.getpid(), signal.SIGKILL)"
        )
        root = Path(files.__file__).parents[1]
        killed = subprocess.run([sys.executable, "-c", code, str(root), str(tmp_path / "out")])
        assert killed.returncode == -9
        with exclusive(tmp_path / "out"):
            pass
        assert names(tmp_path) == set()


class TestUserPath:
    def test_a_tilde_is_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert user_path("~/model") == user_path(Path("~/model")) == tmp_path / "model"
        assert user_path("a/~") == Path("a/~")

    def test_nobody_s_home(self) -> None:
        with pytest.raises(SamnerError, match="no such home"):
            user_path("~nobody-of-this-name/model")

    @pytest.mark.parametrize("path", [None, 3, b"x", [], "a\0b"])
    def test_what_is_no_path(self, path: str) -> None:
        with pytest.raises(SamnerError, match="is no path: it holds a NUL|a path is a string"):
            user_path(path)


def test_what_safetensors_cannot_write_is_told_in_one_line(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "missing" / "a.safetensors"
    with pytest.raises(ModelError, match=r"a\.safetensors: cannot be written") as caught, writing_tensors(path):
        save_file({"a": torch.zeros(2)}, path)
    assert "\n" not in str(caught.value)
