from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from samner.backbones import load_backbone
from samner.entities import entity_types
from samner.errors import ModelError, PoolError, SamnerError
from samner.files import copy_model, read_json, sha256, write_json
from samner.pool import ExpertCard, ExpertPool

TYPES = entity_types(["drug", "disease", "person", "team"])
TEXT = "Aspirin relieves headache within hours."


@pytest.fixture
def pool(tiny_pool: Path, tmp_path: Path) -> ExpertPool:
    """A pool of its own, to be changed."""
    return ExpertPool(Path(shutil.copytree(tiny_pool, tmp_path / "pool")))


@pytest.fixture
def source(pool: ExpertPool, tmp_path: Path) -> Path:
    """An expert's folder as ``samner train`` writes it, named ``new``."""
    folder = Path(shutil.copytree(pool.folder / "experts" / "sports", tmp_path / "new"))
    edit(folder, lambda card: card.update(name="new"))
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any], file: str = "expert.json") -> None:
    values = json.loads((folder / file).read_text())
    change(values)
    (folder / file).write_text(json.dumps(values))


def state(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file's time of change and checksum."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, sha256(path))
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestOpening:
    def test_a_folder(self, tiny_pool: Path) -> None:
        for reference in (tiny_pool, str(tiny_pool)):
            pool = ExpertPool.load(reference)
            assert list(pool.experts) == ["medicine", "sports"]
            assert pool.experts["sports"].types == ("person", "team")

    def test_a_relative_folder(self, tiny_pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tiny_pool.parent)
        assert "sports" in ExpertPool.load("pool").experts

    def test_listing_experts_loads_no_model(self, tiny_pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("samner.pool.pool.load_backbone", None)
        assert len(ExpertPool(tiny_pool).experts) == 2

    def test_what_the_base_was_taught_is_read_without_loading_it(
        self, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("samner.pool.pool.load_backbone", None)
        lists = {"types": {"a": ["drug", "disease"]}, "taught": {"b": ["court: a place of law", "drug"]}}
        edit(pool.base_folder, lambda card: card.update(lists), "base.json")
        again = ExpertPool(pool.folder)
        assert again.base_types == again.snapshot().base_types == {"drug", "disease", "court"}
        edit(pool.base_folder, lambda card: [card.pop(key) for key in lists], "base.json")
        assert ExpertPool(pool.folder).base_types == frozenset()  # it does not say

    @pytest.mark.parametrize("taught", [["drug"], None, {"a": "drug"}, {"a": [1]}, {"a": {"drug": 1}}])
    def test_a_base_that_lists_its_types_wrongly_is_refused(self, pool: ExpertPool, taught: object) -> None:
        edit(pool.base_folder, lambda card: card.update(taught=taught), "base.json")
        with pytest.raises(SamnerError, match=r"base\.json: taught.*: input should be a"):
            _ = pool.base_types
        (problem,) = pool.verify()
        assert "base.json: taught" in problem

    def test_an_ordinary_folder_is_no_pool(self, tmp_path: Path) -> None:
        with pytest.raises(PoolError, match=r"is not a pool: it holds no pool\.json"):
            ExpertPool.load(tmp_path)

    @pytest.mark.parametrize("reference", ["no-such-pool", "./no/such", "../nobody", "/no/such", "a/b/c", "", "a b/c"])
    def test_what_is_not_there_is_named(self, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(PoolError, match=r"no pool at|is not a pool"):
            ExpertPool.load(reference)

    def test_a_file_is_no_pool(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").write_text("")
        with pytest.raises(PoolError, match="no pool at"):
            ExpertPool.load(str(tmp_path / "a" / "b"))

    @pytest.mark.parametrize(
        "content",
        [
            *("{}", "[]", "{", '{"base": 3}', '{"base": ""}', '{"base": "../other"}', '{"base": "/tmp"}'),
            *('{"base": "b", "merge": 1}', '{"format": 2, "base": "b"}', '{"base": "b", "weighing": 1}'),
        ],
    )
    def test_a_damaged_pool_file_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "pool.json").write_text(content)
        with pytest.raises(SamnerError, match=r"pool\.json|leads outside"):
            ExpertPool(tmp_path)

    def test_a_tilde_is_the_home_folder(
        self, tiny_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        ExpertPool.create(Path("~/mine"), tiny_pool / "base")
        assert ExpertPool.load("~/mine").folder == tmp_path / "mine"
        assert not (tmp_path / "~").exists()
        with pytest.raises(SamnerError, match="there is no such home folder"):
            ExpertPool.load("~nobody-of-that-name/pool")
        with pytest.raises(SamnerError, match="a path is a string or a pathlib.Path"):
            ExpertPool.load([])  # type: ignore[arg-type]

    def test_a_card_is_read_once_and_again_when_it_changed(self, pool: ExpertPool) -> None:
        before = pool.experts
        assert all(pool.experts[name] is card for name, card in before.items())
        edit(pool.folder / "experts" / "sports", lambda card: card.update(description="Another"))
        after = pool.experts
        assert after["sports"].description == "Another" and after["medicine"] is before["medicine"]

    def test_a_pool_goes_to_another_process_without_its_base(self, tiny_pool: Path) -> None:
        pool = ExpertPool(tiny_pool)
        assert pool.backbone.models is not None
        sent = pickle.dumps(pool)
        assert len(sent) < 1000 and list(pickle.loads(sent).experts) == ["medicine", "sports"]


class TestHub:
    @pytest.mark.timeout(30)
    @pytest.mark.parametrize("reference", ["no-such-owner/no-such-pool", "owner/" + "x" * 200, "a--b/c..d"])
    def test_an_unknown_id_offline_is_one_clear_error(
        self, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(PoolError, match=r"no folder '.*', and it cannot be had from the hub") as caught:
            ExpertPool.load(reference)
        assert "\n" not in str(caught.value)

    def test_a_folder_goes_before_the_hub(
        self, tiny_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(tiny_pool, tmp_path / "owner" / "name")
        monkeypatch.chdir(tmp_path)
        assert ExpertPool.load("owner/name").folder == tmp_path / "owner" / "name"


class TestCreating:
    def test_a_new_pool_is_empty_and_has_the_base(self, tiny_pool: Path, tmp_path: Path) -> None:
        pool = ExpertPool.create(tmp_path / "pool", tiny_pool / "base")
        assert pool.experts == {}
        assert pool.verify() == []
        assert pool.backbone.fingerprint == ExpertPool(tiny_pool).backbone.fingerprint
        pool.add(tiny_pool / "experts" / "sports")
        assert list(pool.experts) == ["sports"]

    def test_an_existing_folder_is_refused(self, tiny_pool: Path, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match="exists already"):
            ExpertPool.create(tmp_path, tiny_pool / "base")

    def test_a_folder_that_is_no_base_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="is not a base model"):
            ExpertPool.create(tmp_path / "pool", tmp_path)
        assert not (tmp_path / "pool").exists()


class TestAdding:
    def test_an_expert_is_added_as_it_is(self, pool: ExpertPool, source: Path) -> None:
        card = pool.add(source)
        assert card == pool.experts["new"] == ExpertCard.read(source)
        assert list(pool.experts) == ["medicine", "new", "sports"]
        assert pool.verify() == []
        files = {path.name for path in (pool.folder / "experts" / "new").iterdir()}
        assert files == {"README.md", "expert.json", "adapter_config.json", "adapter_model.safetensors"}

    def test_an_expert_can_be_given_another_name(self, pool: ExpertPool, source: Path) -> None:
        assert pool.add(source, "other").name == "other"
        assert "new" not in pool.experts
        assert pool.verify() == []
        assert ExpertCard.read(source).name == "new"

    def test_adding_and_removing_touch_no_other_file(self, pool: ExpertPool, source: Path) -> None:
        before = state(pool.folder)
        pool.add(source)
        after = state(pool.folder)
        assert {name: after[name] for name in before} == before
        assert {Path(name).parent.name for name in after.keys() - before.keys()} == {"new"}
        pool.remove("new")
        assert state(pool.folder) == before

    def test_an_added_expert_answers_at_once(self, pool: ExpertPool, source: Path) -> None:
        pool.load_experts(["sports"])
        before = pool.backbone.predict([TEXT], TYPES, ["sports"], 0.1)["sports"]
        pool.add(source)
        pool.load_experts(["sports", "new"])
        answers = pool.backbone.predict([TEXT], TYPES, ["sports", "new"], 0.1)
        assert (
            [e.key for e in answers["sports"][0]] == [e.key for e in answers["new"][0]] == [e.key for e in before[0]]
        )

    def test_what_the_card_lists_besides_stays_behind(self, pool: ExpertPool, source: Path) -> None:
        (source / "notes.md").write_text("mine")
        edit(source, lambda card: card["files"].update({"notes.md": sha256(source / "notes.md")}))
        assert set(pool.add(source).files) == {"adapter_config.json", "adapter_model.safetensors"}
        assert pool.verify() == []

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: (f / "adapter_config.json").unlink(), r"adapter_config\.json: missing"),
            (lambda f: (f / "expert.json").unlink(), "is not an expert"),
            (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x"), "damaged or changed"),
            (lambda f: (f / "adapter_config.json").open("a").write(" "), "damaged or changed"),
            (lambda f: edit(f, lambda card: card["files"].pop("adapter_config.json")), "lists no checksum"),
            (lambda f: edit(f, lambda card: card["files"].update({"../secret": "0"})), "leads outside"),
            (lambda f: edit(f, lambda card: card["files"].update({"/etc/hostname": "0"})), "leads outside"),
            (lambda f: edit(f, lambda card: card["files"].update({"more.json": "0"})), r"more\.json: missing"),
            (lambda f: edit(f, lambda card: card.update(base="0" * 64)), "another base model"),
            (lambda f: (f / "training_args.bin").write_bytes(b"cos\nsystem\n"), "only plain .* files belong"),
            (lambda f: (f / "deep").mkdir() or (f / "deep" / "x.pkl").write_bytes(b""), "only plain .* files belong"),
            (lambda f: (f / "link.json").symlink_to("/etc/hostname"), r"link\.json: is a link that leads outside"),
            (lambda f: (f / "link").symlink_to("/etc"), "link: is a link"),
        ],
    )
    def test_what_is_not_sound_is_refused_and_leaves_no_trace(
        self, pool: ExpertPool, source: Path, spoil: Callable[[Path], Any], message: str
    ) -> None:
        before = state(pool.folder)
        spoil(source)
        with pytest.raises(SamnerError, match=message):
            pool.add(source)
        assert state(pool.folder) == before
        assert len(list((pool.folder / "experts").iterdir())) == 2

    def test_an_adapter_that_does_not_fit_the_base_is_refused(self, pool: ExpertPool, source: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        path = source / "adapter_model.safetensors"
        tensors = load_file(path)
        key = next(key for key in tensors if key.endswith("lora_A.weight"))
        save_file({**tensors, key: torch.zeros(2, 100)}, path)
        edit(source, lambda card: card["files"].update({path.name: sha256(path)}))
        with pytest.raises(PoolError, match=r"adapts .* as \(\d+, 100\), the base has"):
            pool.add(source)

    def test_a_base_under_another_name_is_taken_when_the_user_says_so(self, pool: ExpertPool, source: Path) -> None:
        edit(source, lambda card: card.update(base="0" * 64))
        with pytest.raises(PoolError, match=r"add it with --same-base (\S+)$") as error:
            pool.add(source)
        with pytest.raises(PoolError, match="another base model"):
            pool.add(source, same_base=["another/base"])
        pool.add(source, "added", same_base=[str(error.value).rpartition(" ")[2]])
        assert pool.experts["added"].base == pool.backbone.fingerprint
        assert pool.adapter("added").modules
        assert pool.verify() == []

    def test_an_adapter_with_another_prefix_is_used_as_what_it_is(self, pool: ExpertPool, source: Path) -> None:
        from safetensors.torch import load_file, save_file

        plain = pool.adapter(pool.add(source, "plain").name)
        path = source / "adapter_model.safetensors"
        save_file(
            {f"_orig_mod.{key.replace('.model.', '.model.bert.', 1)}": x for key, x in load_file(path).items()}, path
        )
        edit(source, lambda card: card["files"].update({path.name: sha256(path)}))
        assert pool.adapter(pool.add(source, "prefixed").name).digest == plain.digest

    def test_an_adapter_that_is_no_lora_is_refused(self, pool: ExpertPool, source: Path) -> None:
        edit(source, lambda config: config.update(use_dora=True), "adapter_config.json")
        edit(source, lambda card: card["files"].update({p: sha256(source / p) for p in ["adapter_config.json"]}))
        with pytest.raises(SamnerError, match="DoRA"):
            pool.add(source)

    @pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", "base", "/abs"])
    def test_names_that_lead_elsewhere_are_refused(
        self, pool: ExpertPool, source: Path, tmp_path: Path, name: str
    ) -> None:
        before = state(pool.folder)
        with pytest.raises(PoolError, match="cannot name an expert"):
            pool.add(source, name)
        edit(source, lambda card: card.update(name=name))
        with pytest.raises(PoolError, match="cannot name an expert"):
            pool.add(source)
        assert state(pool.folder) == before
        assert {path.name for path in tmp_path.iterdir()} == {"pool", "new"}

    def test_a_name_that_is_taken_is_refused(self, pool: ExpertPool, source: Path) -> None:
        before = state(pool.folder)
        with pytest.raises(PoolError, match="has an expert 'medicine' already"):
            pool.add(source, "medicine")
        assert state(pool.folder) == before

    def test_a_full_disk_leaves_no_trace(
        self, pool: ExpertPool, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError("no space left on device")

        before = state(pool.folder)
        monkeypatch.setattr("samner.pool.pool.shutil.copyfile", full)
        with pytest.raises(OSError, match="no space left"):
            pool.add(source)
        assert state(pool.folder) == before
        assert pool.verify() == []


_ADDER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import samner.pool.pool
from samner.errors import PoolError
from samner.pool import ExpertPool

folder, source, mine, fingerprint, shapes = json.loads(sys.argv[1])
shapes = {name: tuple(shape) for name, shape in shapes.items()}
stub = SimpleNamespace(fingerprint=fingerprint, module_shapes=lambda: shapes)
samner.pool.pool.load_backbone = lambda *_: stub  # no need for weights here
pool = ExpertPool(Path(folder))
print("ready", flush=True)
sys.stdin.readline()
added = []
for name in [*(f"same-{i}" for i in range(20)), *(f"{mine}-{i}" for i in range(5))]:
    try:
        pool.add(Path(source), name)
        added.append(name)
    except PoolError as error:
        assert "already" in str(error) or "from elsewhere just now" in str(error), error
print(json.dumps(added))
"""


def test_processes_that_add_at_once_lose_nothing(pool: ExpertPool, source: Path) -> None:
    """Each adds some names of its own, and all try the same others, of which each goes to exactly one."""
    argument = [str(pool.folder), str(source), None, pool.backbone.fingerprint, pool.backbone.module_shapes()]
    processes = []
    for mine in ("left", "right"):
        argument[2] = mine
        command = [sys.executable, "-c", _ADDER, json.dumps(argument)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    added = [name for process in processes for name in json.loads(process.communicate(timeout=60)[0])]
    expected = {f"same-{i}" for i in range(20)} | {f"{mine}-{i}" for mine in ("left", "right") for i in range(5)}
    assert sorted(added) == sorted(expected)
    assert set(pool.experts) == expected | {"medicine", "sports"}
    assert pool.verify() == []


class TestRemoving:
    def test_a_removed_expert_is_gone(self, pool: ExpertPool) -> None:
        pool.remove("sports")
        assert list(pool.experts) == ["medicine"]
        assert [path.name for path in (pool.folder / "experts").iterdir()] == ["medicine"]
        assert pool.verify() == []
        with pytest.raises(PoolError, match="has no expert 'sports'; it has: medicine"):
            pool.load_experts(["sports"])

    @pytest.mark.parametrize("name", ["nobody", "..", "../base", "sports/..", ""])
    def test_unknown_names_are_refused(self, pool: ExpertPool, name: str) -> None:
        before = state(pool.folder)
        with pytest.raises(PoolError, match=r"has no expert|cannot name an expert"):
            pool.remove(name)
        assert state(pool.folder) == before

    def test_of_two_that_remove_at_once_one_is_told(self, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = pool.expert_folder("sports")
        monkeypatch.setattr(pool, "expert_folder", lambda name: folder)
        pool.remove("sports")
        with pytest.raises(PoolError, match=r"removed .* from elsewhere just now"):
            pool.remove("sports")
        assert [path.name for path in (pool.folder / "experts").iterdir()] == ["medicine"]

    def test_what_is_removed_while_the_pool_is_listed_is_left_out(
        self, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = ExpertCard.read

        def removed_just_before(folder: Path) -> ExpertCard:
            if folder.name == "medicine":
                shutil.rmtree(folder)
            return read(folder)

        monkeypatch.setattr(ExpertCard, "read", removed_just_before)
        assert list(pool.experts) == ["sports"]

    def test_a_replaced_expert_is_loaded_anew(self, pool: ExpertPool, source: Path) -> None:
        pool.load_experts(["medicine", "sports"])
        before = pool.backbone.predict([TEXT], TYPES, ["medicine"], 0.01)["medicine"][0]
        pool.remove("medicine")
        pool.add(source, "medicine")  # the sports expert, in truth
        pool.load_experts(["medicine"])
        answers = pool.backbone.predict([TEXT], TYPES, ["medicine", "sports"], 0.01)
        replaced = answers["medicine"][0]
        assert [e.score for e in replaced] == pytest.approx([e.score for e in answers["sports"][0]], abs=1e-5)
        assert [(e.key, round(e.score, 4)) for e in replaced] != [(e.key, round(e.score, 4)) for e in before]


class TestVerifying:
    def test_a_sound_pool_has_no_problems(self, tiny_pool: Path) -> None:
        assert ExpertPool(tiny_pool).verify() == []

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: (f / "experts/sports/adapter_model.safetensors").write_bytes(b"x"), "damaged or changed"),
            (lambda f: (f / "experts/sports/adapter_config.json").unlink(), "missing"),
            (lambda f: (f / "experts/sports/expert.json").unlink(), "is not an expert"),
            (lambda f: (f / "experts/sports/expert.json").write_text("{"), "not valid JSON"),
            (lambda f: (f / "experts/sports/model.bin").write_bytes(b"x"), "only plain"),
            (lambda f: edit(f / "experts/sports", lambda card: card.update(base="0")), "another base model"),
            (lambda f: edit(f / "experts/sports", lambda card: card.update(name="other")), "is named 'other'"),
            (lambda f: edit(f / "experts/sports", lambda card: card["files"].update({"../x": ""})), "leads outside"),
            (lambda f: (f / "experts/stray.txt").write_text(""), "is not an expert"),
            (lambda f: (f / "experts/.sports.abc").mkdir(), "left over from an interrupted change"),
            (lambda f: (f / "base/base.safetensors").write_bytes(b"x"), "damaged, its SHA-256"),
            (lambda f: (f / "base/base.json").unlink(), "is not a base model"),
        ],
    )
    def test_each_problem_is_one_line(self, pool: ExpertPool, spoil: Callable[[Path], Any], message: str) -> None:
        assert pool.verify() == []
        spoil(pool.folder)
        (problem,) = pool.verify()
        assert message in problem and "\n" not in problem

    def test_all_problems_are_listed(self, pool: ExpertPool) -> None:
        for name in ("medicine", "sports"):
            (pool.folder / "experts" / name / "adapter_model.safetensors").write_bytes(b"x")
            (pool.folder / "experts" / name / "adapter_config.json").unlink()
        assert len(pool.verify()) == 4

    def test_baselines_are_verified_too(self, pool: ExpertPool) -> None:
        baseline = pool.folder / "baselines" / "unified"
        shutil.copytree(pool.folder / "experts" / "sports", baseline)
        edit(baseline, lambda card: card.update(name="unified"))
        assert pool.verify() == []
        (baseline / "adapter_model.safetensors").write_bytes(b"x")
        (problem,) = pool.verify()
        assert "damaged or changed" in problem

    @pytest.mark.parametrize("name", ["run.py", "weights.pkl", "deep/weights.bin"])
    def test_what_does_not_belong_in_a_base_is_named_and_not_copied(
        self, pool: ExpertPool, tmp_path: Path, name: str
    ) -> None:
        stray = pool.base_folder / name
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"x")
        (problem,) = pool.verify()
        assert problem.startswith(f"{stray}: only plain")
        copy = ExpertPool.create(tmp_path / "copy", pool.base_folder)
        assert not list(copy.folder.rglob(stray.name)) and copy.verify() == []

    def test_a_link_out_of_the_base_is_named_and_never_copied(self, pool: ExpertPool, tmp_path: Path) -> None:
        (tmp_path / "key.txt").write_text("secret")
        for link in ("notes.txt", "folder"):
            (pool.base_folder / link).symlink_to(tmp_path / "key.txt" if link == "notes.txt" else tmp_path)
        assert [problem.split(": ")[0] for problem in pool.verify()] == [
            str(pool.base_folder / "notes.txt"),
            str(pool.base_folder / "folder"),
        ]
        with pytest.raises(SamnerError, match=r"notes\.txt: is a link that leads outside .* not copied"):
            ExpertPool.create(tmp_path / "copy", pool.base_folder)
        assert not (tmp_path / "copy").exists()

    def test_a_base_in_a_hubs_cache_is_made_of_links_and_is_copied(self, pool: ExpertPool, tmp_path: Path) -> None:
        snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
        (tmp_path / "models--a--b" / "blobs").mkdir(parents=True)
        snapshot.mkdir(parents=True)
        for file in sorted(pool.base_folder.iterdir()):
            blob = tmp_path / "models--a--b" / "blobs" / sha256(file)
            shutil.move(file, blob)
            (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
        copy = ExpertPool.create(tmp_path / "copy", snapshot)
        assert copy.verify() == [] and not any(path.is_symlink() for path in copy.folder.rglob("*"))

    def test_threads_verify_while_others_use_the_pool(self, pool: ExpertPool) -> None:
        backbone = pool.backbone
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda _: pool.verify(), range(4))) == [[]] * 4
        assert pool.backbone is backbone

    @pytest.mark.skipif(os.name == "nt", reason="needs links")
    @pytest.mark.parametrize("place", ["experts", "baselines"])
    def test_experts_that_lie_elsewhere_are_not_read(self, pool: ExpertPool, tmp_path: Path, place: str) -> None:
        shutil.rmtree(pool.folder / place, ignore_errors=True)
        (pool.folder / place).symlink_to(tmp_path)
        (problem,) = pool.verify()
        assert "leads outside" in problem

    @pytest.mark.skipif(os.name == "nt", reason="needs links")
    def test_an_expert_that_is_a_link_out_of_the_pool_is_not_used(self, pool: ExpertPool, source: Path) -> None:
        edit(source, lambda card: card.update(name="linked"))
        (pool.folder / "experts" / "linked").symlink_to(source)
        with pytest.raises(SamnerError, match="leads outside"):
            pool.load_experts(["linked"])
        with pytest.raises(SamnerError, match="leads outside"):
            _ = pool.experts


class TestUsing:
    def test_damaged_or_foreign_experts_are_not_used(self, pool: ExpertPool) -> None:
        folder = pool.folder / "experts" / "sports"
        edit(folder, lambda card: card.update(base="0"))
        for use in (pool.adapter, lambda name: pool.load_experts([name])):
            with pytest.raises(PoolError, match="another base model"):
                use("sports")
        (folder / "adapter_model.safetensors").write_bytes(b"x")
        for use in (pool.adapter, lambda name: pool.load_experts([name])):
            with pytest.raises(PoolError, match="damaged or changed"):
                use("sports")
        pool.load_experts(["medicine"])

    def test_a_card_in_the_wrong_folder_is_an_error(self, pool: ExpertPool) -> None:
        edit(pool.folder / "experts" / "sports", lambda card: card.update(name="medicine"))
        with pytest.raises(PoolError, match="is named 'medicine', its folder 'sports'"):
            _ = pool.experts

    def test_of_experts_that_selections_asked_only_the_last_few_stay_in_memory(
        self, pool: ExpertPool, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("samner.pool.pool._PASSING", 1)
        pool.add(source)
        pool.load_experts(["new"])
        now = pool.snapshot()
        base = now.asked(["medicine", "sports", "new"])
        assert set(pool.backbone.models) == {"new", "sports"}
        assert set(base.predict([TEXT], TYPES, ["medicine", "sports", "new"], 0.1)) == {"medicine", "sports", "new"}
        pool.load_experts(["sports"])
        now.asked(["medicine"])
        assert set(pool.backbone.models) == {"new", "sports", "medicine"}

    def test_unfinished_folders_are_not_experts(self, pool: ExpertPool) -> None:
        (pool.folder / "experts" / ".new.abc").mkdir()
        assert list(pool.experts) == ["medicine", "sports"]

    def test_a_baseline_answers_under_a_name_no_expert_can_have(self, pool: ExpertPool, source: Path) -> None:
        with pytest.raises(PoolError, match="no baseline 'new'; it has: none"):
            pool.load_baseline("new")
        shutil.copytree(source, pool.folder / "baselines" / "new")
        model = pool.load_baseline("new")
        assert model in pool.backbone.models and "new" not in pool.experts
        with pytest.raises(PoolError):
            pool.add(source, model)


class TestLanguageModels:
    def test_a_base_made_of_code_is_copied_with_it(self, tmp_path: Path) -> None:
        base = tmp_path / "base"
        (base / "model").mkdir(parents=True)
        (base / "base.json").write_text("{}")
        (base / "model" / "modeling.py").write_text("")
        for config, copied in (("{}", False), ('{"auto_map": {}}', True)):
            (base / "model" / "config.json").write_text(config)
            copy_model(base, tmp_path / f"copy {copied}")
            assert (tmp_path / f"copy {copied}" / "model" / "modeling.py").exists() == copied

    @pytest.mark.parametrize("model", ["acme/llm-9000", "../model", "models/here"])
    def test_its_card_does_not_choose_which_model_is_loaded(self, tmp_path: Path, model: str) -> None:
        (tmp_path / "base.json").write_text(json.dumps({"format": 1, "family": "causal", "model": model}))
        with pytest.raises(SamnerError, match=r"base\.json: names the model .* not opened unasked|leads outside"):
            load_backbone(tmp_path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pool: pool.remove(3), "3 cannot name an expert"),
        (lambda pool: pool.adapter(None), "None cannot name an expert"),
        (lambda pool: pool.load_experts("sports"), "names must be a list of names, not the single string 'sports'"),
        (lambda pool: pool.load_experts([3]), "every one of names must be a string"),
        (lambda pool: ExpertPool.load(pool.folder, device=3), "device must be a name such as 'cpu'"),
        (lambda pool: ExpertPool.create(pool.folder / "x", pool.base_folder, merge=3), "merge"),
        (lambda pool: ExpertPool.create(pool.folder / "x", pool.base_folder, merge={"lam": [1]}), "merge"),
    ],
)
def test_wrong_arguments_are_named(pool: ExpertPool, call: Callable[[ExpertPool], Any], message: str) -> None:
    with pytest.raises(SamnerError, match=message):
        call(pool)
    assert not (pool.folder / "x").exists()


def test_a_device_of_torch_is_a_device(pool: ExpertPool) -> None:
    import torch

    assert ExpertPool.load(pool.folder, device=torch.device("cpu")).device == "cpu"


@pytest.mark.parametrize("merge", [{"foo": 1}, {"lam": "x"}, {"density": 7}])
def test_verify_finds_what_no_merge_takes(pool: ExpertPool, merge: dict[str, Any]) -> None:
    card = pool.folder / "pool.json"
    write_json(card, read_json(card) | {"merge": merge})
    (problem,) = pool.verify()
    assert problem.startswith(f"{card}: 'merge'")
    assert next(iter(merge)) in problem


def test_verify_finds_a_changed_card(pool: ExpertPool, source: Path) -> None:
    pool.add(source)
    assert pool.verify() == []
    card = pool.folder / "experts" / "new" / "expert.json"
    edit(card.parent, lambda values: values.update(description="Another"))
    (problem,) = pool.verify()
    assert problem.startswith(f"{card}: was changed since it was written")
    edit(card.parent, lambda values: values.pop("digest"))  # as the message says
    assert pool.verify() == []
