from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from samner.data import read_examples
from samner.errors import SamnerError
from studies.data import __main__ as command
from studies.data.sources import read_table
from tests.studies.data.repository import commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

ROOT = Path(__file__).resolve().parents[3]


def column(*texts: str) -> str:
    """Each text as rows, its words in capitals tagged."""
    return "\n\n".join("\n".join(f"{w}\t{'B-LOC' if w.isupper() else 'O'}" for w in text.split()) for text in texts)


FILES = {
    "target/train.txt": column("to ROME", "to BERN", "in OSLO"),
    "target/dev.txt": column("from ROME", "TO bern"),
    "target/test.txt": column("in OSLO", "in OSLO", "at KYIV"),
    "train/train.txt": column("we flew", "At Kyiv !", "see PRAGUE", "see LIMA", "long " * 401),
    "train/dev.txt": column("see LIMA", "see QUITO"),
    "train/test.txt": column("see QUITO", "by BONN"),
    "wide/train.txt": column("by BONN", "to ROME", "new TOWN", "a CITY", "% -"),
    "wide/dev.txt": column("a CITY", "the PORT"),
    "wide/test.txt": column("the PORT", "one MORE"),
    "foundation/train.txt": column("some PLACE", "at KYIV", "one PLACE"),
    "foundation/dev.txt": column("one PLACE"),
    "types.json": json.dumps({"loc": {"gpt_answer": '{"Definition": "a place"}'}}),
}
TEXTS = {
    "target/a": {"unlabeled": ["to ROME", "to BERN", "from ROME", "TO bern"], "test": ["in OSLO", "at KYIV"]},
    "train/x/b": {"train": ["we flew", "see PRAGUE"], "dev": ["see LIMA"], "test": ["see QUITO", "by BONN"]},
    "foundation/c": {"train": ["some PLACE"], "dev": ["one PLACE"]},
    "wide/y/d": {"train": ["new TOWN"], "dev": ["a CITY"], "test": ["the PORT", "one MORE"]},
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with a set of each kind, whose repository is below mirrors/."""
    head = commit(tmp_path / "mirrors/owner+name", FILES)
    common: dict[str, Any] = {"from": "owner/name", "licence": "MIT", "reader": "columns", "format": "conll"}
    kinds = {name.split("/")[0]: name for name in TEXTS}
    sets: dict[str, Any] = {name: {**common, "files": f"{kind}/{{}}.txt"} for kind, name in kinds.items()}
    sets["foundation/c"]["files"] = {part: f"foundation/{part}.txt" for part in ("train", "dev")}
    sets["types/e"] = {**common, "reader": "definitions", "files": {"all": "types.json"}}
    path = tmp_path / "table.yaml"
    path.write_text(json.dumps({"commits": {"owner/name": head}, "sets": sets}))
    return path


@pytest.fixture
def run(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(command, "read_table", lambda: read_table(table))
    mirrors = ["--mirrors", str(tmp_path / "mirrors")]

    def run(verb: str, *more: str) -> object:
        try:
            return command.main([verb, str(tmp_path / "data"), *mirrors, *more])
        except SystemExit as ended:
            return ended.code

    return run


def texts(folder: Path) -> list[str]:
    return [row.text for row in read_examples(folder)]


def test_sets_are_built_without_what_others_hold(run: Any, tmp_path: Path) -> None:
    assert run("build") == 0
    for name, parts in TEXTS.items():
        found = {path.stem: texts(path) for path in (tmp_path / "data" / name).iterdir()}
        assert found == parts, name
    assert json.loads((tmp_path / "data/types/e.json").read_text()) == {"loc": "a place"}


def test_what_is_there_is_kept_so_that_a_stopped_build_goes_on(run: Any, tmp_path: Path, capsys: Any) -> None:
    assert run("build", "--only", "target") == 0
    kept = tmp_path / "data/target/a/test.jsonl"
    kept.write_text(kept.read_text().replace("KYIV", "LVIV"))
    assert run("build") == 0
    assert "target/a: is there already" in capsys.readouterr().out
    assert "LVIV" in kept.read_text() and (tmp_path / "data/wide/y/d/train.jsonl").is_file()


def test_a_check_says_by_set_what_differs(run: Any, tmp_path: Path, capsys: Any) -> None:
    run("build")
    capsys.readouterr()
    assert run("check") == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: equal" for name in (*TEXTS, "types/e")]
    changed = tmp_path / "data/train/x/b/train.jsonl"
    changed.write_text(changed.read_text().replace("we flew", "we came"))
    shutil.rmtree(tmp_path / "data/foundation")
    (tmp_path / "data/types/e.json").write_text('{"loc": "a town"}')
    assert run("check") == 1
    told = capsys.readouterr().out
    assert "train/x/b: train: of 2 lines 1 would not be built (1 not in its source), 1 are missing" in told
    assert "foundation/c: not compared (" in told and "no such file" in told
    assert "types/e: 1 of 1 types differ" in told


def test_wide_sets_need_those_they_leave_out(run: Any, tmp_path: Path, capsys: Any) -> None:
    assert run("build", "--only", "wide/y/d") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "target/a/unlabeled.jsonl is missing" in error
    assert not (tmp_path / "data/wide").exists() or not list((tmp_path / "data/wide/y").iterdir())


def test_errors_are_one_line(run: Any, table: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("build", "--only", "train/none") == 2
    assert "there is no set 'train/none'" in capsys.readouterr().err
    commit(tmp_path / "mirrors/owner+name", {"types.json": "[]"})
    told = json.loads(table.read_text())
    told["commits"]["owner/name"] = commit(tmp_path / "mirrors/owner+name", {"types.json": '{"loc": 1}'})
    table.write_text(json.dumps(told))
    assert run("build", "--only", "types") == 2
    assert "error: types/e: its files are not as they should be (TypeError" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "mirrors")
    assert run("build", "--only", "target") == 2
    assert "has no git directory owner+name" in capsys.readouterr().err


def test_a_set_cannot_lead_outside(table: Path) -> None:
    told = json.loads(table.read_text())
    for name in ("../up/a", "/etc/a", "train/../../a", "train"):
        table.write_text(json.dumps({**told, "sets": {name: told["sets"]["target/a"]}}))
        with pytest.raises(SamnerError, match="cannot be the name and folder of a set"):
            read_table(table)


def test_the_table_of_the_documentation_is_that_of_the_sources() -> None:
    page = (ROOT / "docs/data_sets.md").read_text(encoding="utf-8")
    assert command.table(*read_table()) in page, (
        "write what 'python -m studies.data table' prints into docs/data_sets.md"
    )


def test_every_source_has_its_commits_and_is_of_a_kind() -> None:
    commits, sources = read_table()
    assert {name for source in sources.values() for name in source.repositories} == commits.keys()
    assert {source.kind for source in sources.values()} == set(command.ORDER)
    assert {source.split for source in sources.values()} == {"", "tenths", "files"}
    for source in sources.values():
        assert {item.repository for items in source.files.values() for item in items} <= set(source.repositories)


def test_what_is_built_here_covers_the_data_folder(shared_data: Path) -> None:
    _, sources = read_table()
    there = {path.parent.relative_to(shared_data).as_posix() for path in shared_data.rglob("*.jsonl")}
    assert there <= sources.keys()
