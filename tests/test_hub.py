"""Pools, experts and task models by way of a model hub: a stand-in on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from samner import ExpertPool, TaskModel, adapt, hub
from samner.errors import HubError, ModelError, PoolError, SamnerError
from samner.pool import pull
from tests.command_line import done, samner
from tests.hub_stand_in import BREAK, STALL, TOKEN, HubStandIn

TEXTS = ["Aspirin relieves headache within hours.", "Ada Moreno scored twice for Rovers on Sunday."]
LABELS = ["drug", "person"]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A hub in whose place huggingface_hub asks the stand-in, logged in, with an empty cache and without Xet."""
    with HubStandIn() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("SAMNER_HOME", str(tmp_path / "home"))
        yield server


@pytest.fixture
def pool(tiny_pool: Path, tmp_path: Path) -> ExpertPool:
    """A copy of the tiny pool, with what is not to be given away."""
    folder = Path(shutil.copytree(tiny_pool, tmp_path / "mine"))
    (folder / "secrets.txt").write_text("mine alone")
    (folder / "LICENSE").write_text("Apache-2.0")
    return ExpertPool(folder, "cpu")


class TestPools:
    def test_what_train_advises_of_one_works(self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path) -> None:
        pool.push_to_hub("acme/clinic")
        (tmp_path / "data.jsonl").write_text(
            '{"text": "Paris is old.", "entities": [{"start": 0, "end": 5, "label": "city"}]}\n'
        )
        refused = samner("pool", "add", "acme/clinic", tmp_path / "x")
        assert refused.exit_code == 2 and "samner pool pull acme/clinic FOLDER" in refused.stderr
        out, option = tmp_path / "x", ("--option", "steps=1")
        said = done("train", tmp_path / "data.jsonl", "--pool", "acme/clinic", "--name", "x", "-o", out, *option)
        assert said.splitlines()[-3:] == [
            "next, once: samner pool pull acme/clinic my-pool",
            f"next: samner pool add my-pool {out}",
            "then: samner adapt --pool my-pool ...",
        ]
        done("pool", "pull", "acme/clinic", tmp_path / "my-pool")
        done("pool", "add", tmp_path / "my-pool", out)

    def test_one_goes_to_the_hub_and_comes_back_the_same(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path
    ) -> None:
        pushed = pool.push_to_hub("acme/clinic")
        files = stand_in.repositories["acme/clinic"].files
        assert {"pool.json", "LICENSE", "base/base.json", "experts/sports/adapter_model.safetensors"} <= set(files)
        assert not any(name.startswith("secrets") for name in files)
        card = ModelCard(files["README.md"].decode())
        assert card.data.pipeline_tag == "token-classification" and "samner" in card.data.tags
        assert "medicine" in card.text

        opened = ExpertPool.from_pretrained("acme/clinic", device="cpu")
        assert opened.source == pushed
        assert opened.experts == pool.experts and opened.verify() == []
        expected = adapt(pool, TEXTS, LABELS).predict(TEXTS)
        assert adapt(opened, TEXTS, LABELS).predict(TEXTS) == expected

        got = pull("acme/clinic", out=tmp_path / "copy")
        assert (got.source, got.experts, got.is_pool) == (pushed, ("medicine", "sports"), True)
        assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))
        copy = ExpertPool(tmp_path / "copy", "cpu")
        copy.remove("sports")
        assert copy.source is None and list(opened.experts) == ["medicine", "sports"]

    def test_a_revision_is_pinned_and_recorded_and_the_model_can_be_made_again(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path
    ) -> None:
        first = pool.push_to_hub("acme/clinic")
        pool.remove("sports")
        second = pool.push_to_hub("acme/clinic")
        assert first != second
        assert not any(name.startswith("experts/sports") for name in stand_in.repositories["acme/clinic"].files)
        assert list(ExpertPool.load("acme/clinic").experts) == ["medicine"]
        commit = first.partition("@")[2]
        old = ExpertPool.from_pretrained("acme/clinic", revision=commit, device="cpu")
        assert list(old.experts) == ["medicine", "sports"]

        model = adapt(old, TEXTS, LABELS)
        assert model.settings["pool"] == first
        model.save(tmp_path / "model")
        saved = TaskModel.load(tmp_path / "model", "cpu")
        settings = dict(saved.settings)
        again = adapt(
            ExpertPool.load(settings.pop("pool"), "cpu"),
            TEXTS,
            saved.types,
            mode=saved.mode,
            **settings.pop("parameters"),
            **settings,
        )
        assert {n: m.model for n, m in again.merges.items()} == {n: m.model for n, m in saved.merges.items()}
        assert again.predict(TEXTS) == saved.predict(TEXTS)

    def test_what_is_there_is_found_offline_and_not_fetched_again(
        self, stand_in: HubStandIn, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pushed = pool.push_to_hub("acme/clinic")
        ExpertPool.load("acme/clinic")
        before = len(stand_in.requests)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        for reference in ("acme/clinic", pushed):
            assert ExpertPool.load(reference, "cpu").source == pushed
        assert len(stand_in.requests) == before
        with pytest.raises(
            PoolError, match=r"acme/other: HF_HUB_OFFLINE is set, and it is not whole on this machine$"
        ):
            ExpertPool.load("acme/other")
        with pytest.raises(HubError, match=r"acme/clinic: HF_HUB_OFFLINE is set$"):
            pool.push_to_hub("acme/clinic")

    def test_only_what_a_model_is_made_of_is_fetched(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        pool.push_to_hub("acme/clinic")
        files = stand_in.repositories["acme/clinic"].files
        stand_in.make("acme/clinic", files | {"base/model.pkl": b"evil", "run.py": b"evil", "LICENSE.pt": b"evil"})
        folder = pull("acme/clinic").folder
        assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".py", ".pt")]
        assert not stand_in.asked(r"resolve/.*\.(pkl|py|pt)")

    @pytest.mark.parametrize("name", ["../../../../evil.json", "base/../../../../../evil.json", "/evil.json"])
    def test_a_file_that_leads_outside_is_refused(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path, name: str
    ) -> None:
        stand_in.make("acme/clinic", {"pool.json": b"{}", name: b"evil"})
        with pytest.raises(HubError, match=r"^acme/clinic: cannot be taken \(Invalid filename '.*evil\.json'"):
            hub.download("acme/clinic")
        assert not list(tmp_path.rglob("evil.json"))

    def test_a_download_goes_on_where_it_was_broken_off(
        self, stand_in: HubStandIn, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
        pool.push_to_hub("acme/clinic")
        stand_in.fail[r"GET .*base\.safetensors"] = [BREAK]
        assert pull("acme/clinic").experts == ("medicine", "sports")
        (resumed,) = stand_in.asked(r"base\.safetensors bytes=[1-9]")
        assert resumed

    def test_damage_on_the_way_is_found_and_fetched_anew(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path
    ) -> None:
        pool.push_to_hub("acme/clinic")
        stand_in.damage = b"!"
        with pytest.raises(
            HubError,
            match=r"acme/clinic@\w{40}: base/base.safetensors, .* came damaged, or was damaged since; it was drop",
        ):
            pull("acme/clinic", out=tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        stand_in.damage = None
        assert pull("acme/clinic", out=tmp_path / "copy").folder == tmp_path / "copy"

    def test_one_that_is_not_whole_is_neither_pushed_nor_pulled(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path
    ) -> None:
        pool.push_to_hub("acme/clinic")
        files = dict(stand_in.repositories["acme/clinic"].files)
        stand_in.make("acme/clinic", files | {"experts/sports/adapter_model.safetensors": b"other"})
        with pytest.raises(PoolError, match=r"acme/clinic: is not whole on the hub: .*damaged or changed"):
            pull("acme/clinic")
        (pool.expert_folder("sports") / "adapter_model.safetensors").write_bytes(b"other")
        before = len(stand_in.requests)
        for expert in (None, "sports"):
            with pytest.raises(PoolError, match=r"not pushed, as it is not whole: .*damaged or changed"):
                pool.push_to_hub("acme/clinic", expert=expert)
        assert len(stand_in.requests) == before

    def test_no_file_of_elsewhere_is_given_away(self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("mine alone")
        (pool.folder / "NOTICE").symlink_to(tmp_path / "key")
        with pytest.raises(SamnerError, match="'NOTICE' leads outside"):
            pool.push_to_hub("acme/clinic")
        assert not stand_in.requests

    def test_the_cache_is_not_changed_by_hand(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        pool.push_to_hub("acme/clinic")
        cached = ExpertPool.load("acme/clinic")
        with pytest.raises(PoolError, match=r"is in the hub's cache.*samner pool pull acme/clinic@\w{40} FOLDER"):
            cached.remove("sports")


class TestExperts:
    def test_one_goes_alone_and_comes_back_into_a_pool(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path
    ) -> None:
        pushed = pool.push_to_hub("acme/sports", expert="sports")
        files = stand_in.repositories["acme/sports"].files
        names = {"adapter_config.json", "adapter_model.safetensors", "expert.json", "README.md", ".gitattributes"}
        assert set(files) == names
        assert ModelCard(files["README.md"].decode()).data.library_name == "peft"
        got = pull("acme/sports", out=tmp_path / "sports")
        assert (got.source, got.experts, got.is_pool) == (pushed, ("sports",), False)
        pool.remove("sports")
        assert pool.add(got.folder).name == "sports" and pool.verify() == []
        with pytest.raises(PoolError, match=r"the repository holds an expert, no pool: 'samner pool pull' gets it"):
            ExpertPool.load("acme/sports")


class TestTaskModels:
    def test_one_goes_to_the_hub_and_answers_the_same(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS)
        pushed = model.push_to_hub("acme/mine")
        card = ModelCard(stand_in.repositories["acme/mine"].files["README.md"].decode())
        assert "drug, person" in card.text
        for reference, revision in (("acme/mine", None), (pushed, None), ("acme/mine", pushed.partition("@")[2])):
            opened = TaskModel.from_pretrained(reference, revision=revision, device="cpu")
            assert opened.predict(TEXTS) == model.predict(TEXTS)
        stand_in.make("acme/empty", {"config.json": b"{}"})
        (weights,) = {path for path in Path(constants.HF_HUB_CACHE).glob("*mine/snapshots/*/task-*.safetensors")}
        blob = weights.resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
        with pytest.raises(HubError, match=rf"{pushed}: {weights.name} came damaged, .*: get it again"):
            TaskModel.from_pretrained("acme/mine", device="cpu")
        assert TaskModel.from_pretrained("acme/mine", device="cpu").predict(TEXTS) == model.predict(TEXTS)
        with pytest.raises(ModelError, match="holds no saved task model"):
            TaskModel.from_pretrained("acme/empty")


class TestKilled:
    """By kill -9, in a process of its own."""

    def kill(self, stand_in: HubStandIn, cache: Path, code: str, *arguments: str) -> None:
        said = {"HF_ENDPOINT": stand_in.url, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1"}
        environment = {**os.environ, **said, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment)
        assert stand_in.stalled.wait(60)
        while "download" in code and not list(cache.rglob("pool.json")):
            threading.Event().wait(0.01)
        process.kill()
        process.wait()

    def test_amid_a_push_the_repository_is_as_it_was_and_the_next_goes_on(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path
    ) -> None:
        pool.push_to_hub("acme/clinic")
        before = dict(stand_in.repositories["acme/clinic"].files)
        shutil.copytree(pool.folder, tmp_path / "new")
        weights = tmp_path / "new" / "base" / "other.safetensors"
        weights.write_bytes(b"other")
        stand_in.fail["PUT /lfs"] = [STALL]
        code = (
            "import sys; from pathlib import Path; from samner import hub; root = Path(sys.argv[1]);"
            "files = {p.relative_to(root).as_posix(): p for p in root.rglob('*') if p.is_file()};"
            "hub.upload('acme/clinic', files, 'pool.json', 'again')"
        )
        self.kill(stand_in, tmp_path / "cache", code, str(tmp_path / "new"))
        assert stand_in.repositories["acme/clinic"].files == before
        assert pull("acme/clinic").experts == ("medicine", "sports")
        hub.upload("acme/clinic", {"pool.json": b"{}", "base/other.safetensors": weights}, "pool.json", "again")
        assert stand_in.repositories["acme/clinic"].files["base/other.safetensors"] == b"other"

    def test_amid_a_pull_nothing_is_half_there_and_what_arrived_is_kept(
        self, stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool.push_to_hub("acme/clinic")
        stand_in.fail[r"GET .*base\.safetensors"] = [STALL]
        self.kill(stand_in, tmp_path / "cache", "from samner import hub; hub.download('acme/clinic')")
        with monkeypatch.context() as offline, pytest.raises(HubError, match="is not whole on this machine"):
            offline.setattr(constants, "HF_HUB_OFFLINE", True)
            hub.download("acme/clinic")
        assert pull("acme/clinic", out=tmp_path / "copy").experts == ("medicine", "sports")
        assert len(stand_in.asked(r"GET .*base\.safetensors")) == 2
        assert len(stand_in.asked(r"GET .*pool\.json")) == 1


class TestUploading:
    def test_what_is_the_same_is_not_uploaded_again(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        pushed = pool.push_to_hub("acme/clinic")
        uploads = len(stand_in.asked("^PUT /lfs"))
        assert uploads == 3
        assert pool.push_to_hub("acme/clinic") == pushed
        assert len(stand_in.asked("^PUT /lfs")) == uploads

    def test_an_interrupted_one_changes_nothing_and_goes_on(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        stand_in.fail["PUT /lfs"] = [200, 403]
        with pytest.raises(HubError, match=r"acme/clinic: the upload stopped; nothing is changed there.* push again"):
            pool.push_to_hub("acme/clinic")
        assert set(stand_in.repositories["acme/clinic"].files) == {".gitattributes"}
        kept = set(stand_in.objects)
        assert kept
        stand_in.requests.clear()
        pool.push_to_hub("acme/clinic")
        assert not any(stand_in.asked(f"PUT /lfs/{oid}") for oid in kept)

    def test_what_others_put_there_stays_and_what_is_no_pool_is_refused(
        self, stand_in: HubStandIn, pool: ExpertPool
    ) -> None:
        pool.push_to_hub("acme/clinic")
        stand_in.make("acme/clinic", stand_in.repositories["acme/clinic"].files | {"plot.png": b"png"})
        pool.remove("sports")
        pool.push_to_hub("acme/clinic")
        assert stand_in.repositories["acme/clinic"].files["plot.png"] == b"png"
        stand_in.make("acme/bert", {"config.json": b"{}", "model.safetensors": b"weights"})
        with pytest.raises(HubError, match=r"acme/bert: holds something else .*no pool\.json.*give another name"):
            pool.push_to_hub("acme/bert")
        assert set(stand_in.repositories["acme/bert"].files) == {"config.json", "model.safetensors"}

    def test_a_private_one(self, stand_in: HubStandIn, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch) -> None:
        pool.push_to_hub("acme/secret", private=True)
        assert stand_in.repositories["acme/secret"].private
        pool.push_to_hub("acme/open")
        with pytest.raises(HubError, match="acme/open: is there already and public"):
            pool.push_to_hub("acme/open", private=True)
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
        with pytest.raises(PoolError, match=r"acme/secret: the hub has no such repository, or does not show it"):
            ExpertPool.load("acme/secret")

    def test_another_upload_meanwhile_is_not_undone(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        pool.push_to_hub("acme/clinic")
        stand_in.fail["POST .*/commit/"] = [412]
        pool.remove("sports")
        with pytest.raises(HubError, match="was changed from elsewhere meanwhile"):
            pool.push_to_hub("acme/clinic")


class TestErrors:
    def test_of_what_is_asked_for(self, stand_in: HubStandIn, pool: ExpertPool) -> None:
        pool.push_to_hub("acme/clinic")
        stand_in.make("acme/bert", {"config.json": b"{}"})
        for arguments, message in (
            (("acme/nobody", None), "acme/nobody: the hub has no such repository"),
            (("acme/clinic", "v9"), "acme/clinic: has no revision 'v9'; give a commit, tag or branch"),
            (("acme/clinic", "a b"), "'a b' is no revision"),
            (("acme/clinic", "../../main"), "'../../main' is no revision"),
            (("acme/clinic@main", "v9"), "a revision is of a repository"),
            (("clinic", None), "'clinic' is not a repository of the hub"),
            (("acme/bert", None), "acme/bert: the repository holds neither a pool"),
        ):
            with pytest.raises(SamnerError) as caught:
                pull(arguments[0], revision=arguments[1])
            assert message in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(PoolError, match=r"acme/bert: the repository holds no pool; there is no pool\.json in it"):
            ExpertPool.load("acme/bert")
        with pytest.raises(HubError, match="a revision is of a repository of the hub"):
            ExpertPool.from_pretrained("builtin", revision="main")

    def test_of_who_is_not_let_in(
        self, stand_in: HubStandIn, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(HubError, match=r"others/clinic: your token may not write there") as caught:
            pool.push_to_hub("others/clinic")
        assert TOKEN not in str(caught.value)
        with pytest.raises(HubError, match="'clinic' is not the id of a repository"):
            pool.push_to_hub("clinic")
        stand_in.requests.clear()
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
        with pytest.raises(HubError, match=r"log in by 'hf auth login', or set HF_TOKEN"):
            pool.push_to_hub("acme/clinic")
        assert not stand_in.requests

    def test_of_a_hub_that_is_not_there(self, stand_in: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(HubError, match=r"acme/clinic: the hub cannot be reached \(ConnectError\), and it is not"):
            hub.download("acme/clinic")


def test_the_command_line(stand_in: HubStandIn, pool: ExpertPool, tmp_path: Path) -> None:
    import json

    def run(*arguments: object) -> tuple[int, str, str]:
        result = samner("pool", *arguments)
        return result.exit_code, result.stdout, result.stderr

    code, _, said = run("push", pool.folder, "acme/clinic", "--private")
    assert code == 0 and "others get it by: samner pool pull acme/clinic@" in said
    assert stand_in.repositories["acme/clinic"].private
    assert run("push", pool.folder, "acme/sports", "--expert", "sports")[0] == 0
    code, out, _ = run("pull", "acme/clinic", "--json")
    got = json.loads(out)
    assert (code, got["kind"], got["experts"]) == (0, "pool", ["medicine", "sports"])
    commit = got["source"].partition("@")[2]
    code, _, said = run("pull", "acme/clinic", tmp_path / "copy", "--revision", commit)
    assert code == 0 and f"use it by --pool {tmp_path / 'copy'}" in said
    code, _, said = run("pull", "acme/sports")
    assert code == 0 and "next: samner pool add POOL" in said
    code, _, said = run("pull", "acme/clinic", tmp_path / "copy")
    assert code == 2 and "exists already" in said
    code, _, said = run("pull", "acme/nobody")
    assert (
        code == 2 and said.startswith("error: acme/nobody: the hub has no such repository") and said.count("\n") == 1
    )
    assert run("list", "--pool", got["source"])[0] == 0
