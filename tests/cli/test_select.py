from __future__ import annotations

import json
from pathlib import Path

from samner.selection import Selection

LABELS = "drug,disease,person,team"


def test_shows_rankings_and_pseudo_labels(samner, tiny_pool: Path, texts: Path):
    result = samner("select", texts, "--pool", tiny_pool, "--labels", LABELS)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["expert", "cosine", "F1", "chosen", "by"]
    assert {line.split()[0] for line in lines[1:3]} == {"medicine", "sports"}
    at = lines.index("sample 1: Aspirin relieves headache within hours.")
    assert lines[at + 1].split() == ["entity", "label", "votes", "by"]
    assert lines[at + 2].split() == ["Aspirin", "drug", "2", "medicine,", "sports"]
    assert "no pseudo-label" in lines


def test_json(samner, tiny_pool: Path, texts: Path):
    result = samner("select", texts, "--pool", tiny_pool, "--labels", LABELS, "--samples", 2, "--experts", 1, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    selections = {name: Selection.from_dict(values) for name, values in said.items()}
    assert set(selections) == {"similarity", "sampling"}
    assert len(selections["sampling"].sample) == 2
    assert len(selections["similarity"].chosen) == 1


def test_a_plot_of_the_scores(samner, tiny_pool: Path, texts: Path, tmp_path: Path):
    command = ["select", texts, "--pool", tiny_pool, "--labels", LABELS, "--experts", 1, "--plot"]
    result = samner(*command, tmp_path / "plot.svg")
    assert result.exit_code == 0 and f"wrote {tmp_path / 'plot.svg'}" in result.stderr
    drawn = (tmp_path / "plot.svg").read_text("utf-8")
    assert all(word in drawn for word in ("medicine", "sports", "cosine of texts", "F1 against"))
    result = samner(*command, tmp_path / "plot.svg")
    assert result.exit_code == 2 and "plot.svg exists already" in result.stderr
    result = samner(*command, tmp_path / "plot.gif")
    assert result.exit_code == 2 and "a plot is written as .svg, .png or .pdf" in result.stderr


def test_what_is_unusual_is_said(samner, tiny_pool: Path):
    command = ["select", "-", "--format", "text", "--pool", tiny_pool, "--labels", "planet", "--exclude", "sports"]
    result = samner(*command, stdin="Nothing is here.\n")
    assert result.exit_code == 0
    assert "note on sampling: no two experts agreed on any entity" in result.stdout


def test_a_large_pool_is_not_listed_whole(capsys):
    from samner.cli.adapt import show_selections
    from samner.cli.output import console

    names = tuple(f"expert{i:03}" for i in range(100))
    cosine = dict.fromkeys(names, 0.5)
    similarity = Selection("similarity", names[:2], names, cosine)
    sampling = Selection("sampling", ("expert099",), names[::-1], cosine, dict.fromkeys(names, 0.25), 51, ("a",))
    show_selections({"similarity": similarity, "sampling": sampling}, console())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:14]] == [*names[:12], "expert099"]
    assert "and 87 more experts, chosen by none" in lines
    assert "0 entities in 1 sample text that experts agree on, by 51 or more of 100 experts" in lines[-1]


def test_wrong_arguments(samner, texts: Path, tmp_path: Path):
    for arguments, message in (
        (["--labels", "a", "--pool", tmp_path], "is not a pool: it holds no pool.json"),
        (["--labels", "a", "--pool", tmp_path / "no"], "no pool at"),
        ([], "say what to look for"),
    ):
        result = samner("select", texts, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr


def test_a_far_domain_is_warned_of_on_standard_error(samner, tiny_pool: Path):
    command = [
        "select",
        "-",
        "--format",
        "text",
        "--pool",
        tiny_pool,
        "--labels",
        "programming language,library",
        "--json",
    ]
    result = samner(*command, "--experts", "auto", stdin="The compiler inlines pure functions.\n")
    assert result.exit_code == 0, result.stderr
    line = next(line for line in result.stderr.splitlines() if line.startswith("warning: "))
    assert "no expert is close to this domain" in line and "'programming language'" in line
    assert [s["warnings"][0] for s in json.loads(result.stdout).values()] == [line.removeprefix("warning: ")] * 2
