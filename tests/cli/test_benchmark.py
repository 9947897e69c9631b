from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "gold.jsonl").write_text(
        '{"text": "Aspirin helps.", "entities": [{"start": 0, "end": 7, "label": "drug"}]}\n'
    )
    (tmp_path / "texts.txt").write_text("Aspirin relieves headache.\n")
    path = tmp_path / "benchmark.yaml"
    path.write_text(
        "targets: {pharma: {test: gold.jsonl, unlabeled: texts.txt}}\ngroups: {main: {arms: {base: {}, union: {}}}}\n"
    )
    return path


def test_results_and_report(samner, config: Path, tiny_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(results, folder):
        (folder / "report.md").write_text(results["command"])

    monkeypatch.setattr("samner.benchmark.report.write_report", write)  # drawing takes seconds
    arguments = ["--pool", tiny_pool, "--arms", "base", "--work", tmp_path / "kept", "--into", tmp_path / "tables.md"]
    result = samner("benchmark", config, "--out", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == f"wrote {tmp_path / 'out' / 'results.json'}, report.html and report.md"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "report.md"}
    assert (tmp_path / "kept" / "benchmark.sqlite").is_file()
    assert "### Strict span F1" in (tmp_path / "tables.md").read_text()


def test_wrong_arguments(samner, config: Path, tmp_path: Path):
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        ([config], "--out"),
        ([tmp_path / "none.yaml", *out], "none.yaml: cannot be read"),
        ([config, *out, "--only", "games"], "has no target 'games'; it has: pharma"),
        ([config, *out, "--groups", "k"], "has no group 'k'; it has: main"),
        ([config, *out, "--pool", tmp_path / "none"], f"error: no pool at '{tmp_path / 'none'}'"),
        ([config, *out, "--arms", "sam"], "has no arm 'sam'; it has: base, union"),
        ([config, "--out", config], "cannot be made"),
    ):
        result = samner("benchmark", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr
