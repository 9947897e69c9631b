from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import samner
from samner.data import read_examples
from samner.entities import to_fields
from samner.files import exclusive
from samner.task_model import TaskModel

LABELS = "drug,disease,person,team"
FIRST = "Aspirin relieves headache within hours."


def entities(line: str) -> list[tuple[str, str]]:
    return [(entity["text"], entity["label"]) for entity in json.loads(line)["entities"]]


def test_adapts_to_the_texts_and_writes_what_it_finds(samner, tiny_pool: Path, texts: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    result = samner("extract", "--pool", tiny_pool, "--labels", LABELS, texts, "-o", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "read 5 texts" in result.stderr
    assert f"wrote {out}" in result.stderr
    # what was chosen, and why
    [row] = [line for line in result.stderr.splitlines() if line.startswith("medicine")]
    assert row.split()[3:] == ["similarity,", "sampling"]
    assert all(0 < float(value) <= 1 for value in row.split()[1:3])
    assert "sample texts that experts agree on" in result.stderr

    examples = read_examples(out)
    given = [json.loads(line)["text"] for line in texts.read_text(encoding="utf-8").splitlines()]
    assert [example.text for example in examples] == given
    first = json.loads(out.read_text(encoding="utf-8").splitlines()[0])["entities"][0]
    assert set(first) == {"start", "end", "label", "text", "score", "found_by"}
    assert {**first, "score": 1} == {
        **{"start": 0, "end": 7, "label": "drug", "text": "Aspirin", "score": 1},
        "found_by": ["similarity", "sampling"],
    }
    found = {e.text[s.start : s.end] for e in examples for s in e.entities}
    assert {"Ada Moreno", "Harbour City"} <= found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "texts.jsonl"]


def test_a_file_that_is_there_is_replaced_only_by_force(samner, saved_model: Path, texts: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    out.write_text("three weeks of notes\n")
    command = ["extract", texts, "--model", saved_model, "-o", out]
    result = samner(*command)
    assert result.exit_code == 2
    assert result.stderr == f"error: {out} exists already; name another file, remove it, or replace it with --force\n"
    assert out.read_text() == "three weeks of notes\n"
    assert samner(*command, "--force").exit_code == 0
    assert "Aspirin" in out.read_text()


def test_a_saved_model_brings_its_labels(samner, saved_model: Path):
    result = samner("extract", "--model", saved_model, "-", stdin=json.dumps({"text": FIRST}))
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    assert entities(line) == [("Aspirin", "drug"), ("headache", "disease")]
    assert "adapted" not in result.stderr


def test_options_of_prediction(samner, saved_model: Path):
    def lines(*options: str, text: str = FIRST) -> list[dict]:
        result = samner("extract", "--model", saved_model, "-", "--format", "text", *options, stdin=text)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["entities"]

    assert [e["label"] for e in lines("--labels", "disease")] == ["disease"]
    assert lines("--mode", "sampling")[0]["found_by"] == ["sampling"]
    assert lines("--threshold", "0.999999") == []
    low = lines("--threshold", "0.05")
    assert len(low) < len(lines("--overlaps", "all", "--threshold", "0.05"))
    by_label = lines("--threshold", "0.05", "--threshold", "drug=0.999999")
    assert by_label and "drug" in {e["label"] for e in low} - {e["label"] for e in by_label}


def test_labels_of_each_text(samner, saved_model: Path):
    texts = [{"text": FIRST, "types": ["disease"]}, {"text": FIRST}, {"text": FIRST, "types": {"drug": "a medicine"}}]
    given = "\n".join(map(json.dumps, texts))
    result = samner("extract", "--model", saved_model, "--labels-key", "types", "-", stdin=given)
    assert result.exit_code == 0, result.stderr
    found = [[e["label"] for e in json.loads(line)["entities"]] for line in result.stdout.splitlines()]
    assert found[0] == ["disease"] and found[1] == ["drug", "disease"] and set(found[2]) <= {"drug"}
    assert json.loads(result.stdout.splitlines()[0])["types"] == ["disease"]
    result = samner("extract", "--model", saved_model, "--labels-key", "text_types", "-", stdin=given)
    assert result.exit_code == 0
    result = samner("extract", "--model", saved_model, "--labels-key", "types", "-", stdin='{"text": "a", "types": 3}')
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "error: types: labels must be a list of names, not 3",
    )


def test_adapting_to_labels_of_the_texts(samner, tiny_pool: Path):
    texts = [{"text": FIRST, "types": ["drug"]}, {"text": "Rovers lost.", "types": ["team"]}]
    given = "\n".join(map(json.dumps, texts))
    result = samner("extract", "--pool", tiny_pool, "--labels-key", "types", "-", stdin=given)
    assert result.exit_code == 0, result.stderr
    assert "2 labels" in result.stderr
    given += '\n{"text": "a third"}'
    result = samner("extract", "--pool", tiny_pool, "--labels-key", "types", "-", stdin=given)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "error: text 3 has no 'types'; say what to look for in such texts: --labels A,B,...",
    )


def test_labels_the_model_was_not_adapted_for_are_warned_of(samner, saved_model: Path):
    result = samner("extract", "--model", saved_model, "--labels", "drug,river", "-", stdin="Nothing here.")
    assert (
        "warning: the merge was chosen for ['disease', 'drug', 'person', 'team'], not for ['river']" in result.stderr
    )


def test_a_page_of_what_was_found(samner, saved_model: Path, texts: Path, tmp_path: Path):
    command = ["extract", texts, "--model", saved_model, "--html", tmp_path / "found.html"]
    streamed = samner(*command)
    assert streamed.exit_code == 0, streamed.stderr
    first = (tmp_path / "found.html").read_text("utf-8")
    assert '">Aspirin<small>drug' in first and "Café ☕" in first and first.count("<li>") == 5
    assert "://" not in first
    result = samner(*command, "-o", tmp_path / "out.jsonl", "--force")
    assert result.exit_code == 0 and f"wrote {tmp_path / 'found.html'}" in result.stderr
    assert (tmp_path / "found.html").read_text("utf-8") == first
    result = samner(*command)
    assert result.exit_code == 2 and "found.html exists already" in result.stderr
    result = samner(*command[:-1], tmp_path / "same", "-o", tmp_path / "same")
    assert result.exit_code == 2 and "cannot be both" in result.stderr


def test_options_of_adaptation(samner, tiny_pool: Path, texts: Path):
    options = ["--mode", "economy", "--experts", 1, "--samples", 1, "--seed", 3, "--exclude", "sports"]
    merge = ["--method", "dare_ties", "--density", 0.5, "--lam", 0.9]
    result = samner("extract", texts, "--pool", tiny_pool, "--labels", LABELS, *options, *merge)
    assert result.exit_code == 0
    assert "sports" not in result.stderr
    assert {
        name for line in result.stdout.splitlines() for e in json.loads(line)["entities"] for name in e["found_by"]
    }
    assert "economy" in result.stdout


def test_conll_and_bytes_that_are_not_ascii(samner, saved_model: Path, tmp_path: Path):
    (tmp_path / "in.conll").write_text("Ärzte\tO\nuse\tO\nAspirin\tB-x\n.\tO\n", encoding="utf-8")
    result = samner("extract", "--model", saved_model, tmp_path / "in.conll")
    assert json.loads(result.stdout)["text"] == "Ärzte use Aspirin ."
    assert "Ärzte".encode() in result.stdout_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "a", "--method", "tie"], "unknown merge method 'tie'; known are"),
        (["--labels", "a", "--method", "linear", "--density", "0.2"], "'linear' has no parameter 'density'"),
        (["--labels", "a", "--density", "2"], "density must be above 0"),
        (["--labels", "a", "--param", "gamma=0.1"], "'ties' has no parameter 'gamma'; it has density, lam, scope"),
        (["--labels", "a", "--param", "mode=union"], "'ties' has no parameter 'mode'"),
        (["--labels", "a", "--param", "scope=layer"], "scope must be 'global' or 'tensor', not 'layer'"),
        (["--labels", "a", "--param", "scope"], "--param must be NAME=VALUE, not 'scope'"),
        (["--labels", "a", "--param", "=1"], "--param must be NAME=VALUE, not '=1'"),
        (["--labels", "a", "--param", "seed=1"], "the seed is set by --seed"),
        (["--labels", "a", "--lam", "1", "--param", "lam=1"], "the parameter 'lam' is given twice"),
        (["--labels", "a", "--mode", "both"], "unknown mode 'both'; known are union"),
        (
            ["--labels", "a", "--threshold", "1.5"],
            "must be a number between 0 and 1 (exclusive), or LABEL=NUMBER",
        ),
        (["--labels", "a", "--threshold", "b=0.5"], "--threshold names the label 'b'; the labels are a"),
        (["--labels", "a", "--overlaps", "cross"], "overlaps must be flat, nested or all, not 'cross'"),
        (["--labels", "a", "--exclude", "nobody"], "has no expert 'nobody' to leave out"),
        (["--labels", "a", "--experts", "0"], "must be at least 1 or 'auto', not 0"),
        (["--labels", "a", "--experts", "some"], "must be at least 1 or 'auto', not 'some'"),
        (["--labels", "a", "--samples", "0"], "at least 1"),
        (["--labels", "a,a"], "'a' is given twice"),
        (["--labels", "a", "--format", "xml"], "unknown format 'xml'"),
        (["--labels", "a", "--resume"], "--resume needs -o"),
        (["--labels", "a", "-o", "no/such/out.jsonl"], "there is no folder no/such"),
        ([], "say what to look for"),
    ],
)
def test_wrong_arguments(samner, tiny_pool: Path, texts: Path, arguments: list[str], message: str):
    result = samner("extract", texts, "--pool", tiny_pool, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr


@pytest.mark.parametrize(
    "option", [["--pool", "p"], ["--experts", "2"], ["--exclude", "a"], ["--lam", "1"], ["--param", "a=1"]]
)
def test_a_model_is_not_adapted(samner, saved_model: Path, texts: Path, option: list[str]):
    result = samner("extract", texts, "--model", saved_model, *option)
    assert result.exit_code == 2
    assert f"error: {option[0]} is for adapting a pool" in result.stderr


def test_a_mode_the_model_does_not_hold(samner, saved_model: Path, texts: Path):
    result = samner("extract", texts, "--model", saved_model, "--mode", "economy")
    assert result.exit_code == 2
    assert "adapted for mode 'union'" in result.stderr


def test_no_model_there(samner, texts: Path, tmp_path: Path):
    result = samner("extract", texts, "--model", tmp_path)
    assert result.exit_code == 2
    assert "is not a saved task model" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": \n', "in.jsonl:2: not valid JSON"),
        (b"", "in.jsonl: holds no text"),
        (b'{"text": "\xff"}\n', "in.jsonl:1: not UTF-8"),
        (b'{"text": " "}\n', "at least one text that is not blank"),
    ],
)
def test_a_wrong_input_leaves_no_output(samner, tiny_pool: Path, tmp_path: Path, content: bytes, message: str):
    (tmp_path / "in.jsonl").write_bytes(content)
    out = tmp_path / "out.jsonl"
    result = samner("extract", tmp_path / "in.jsonl", "--pool", tiny_pool, "--labels", "drug", "-o", out)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_input_is_not_overwritten(samner, texts: Path):
    before = texts.read_bytes()
    result = samner("extract", texts, "--labels", "a", "-o", texts)
    assert result.exit_code == 2
    assert "is what is read" in result.stderr
    assert texts.read_bytes() == before


def test_an_interrupted_run_goes_on(samner, saved_model: Path, texts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("samner.data.batches._BATCH_TEXTS", 2)
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    command = ["extract", "--model", saved_model, texts, "-o"]
    assert samner(*command, whole).exit_code == 0

    predict, asked = TaskModel.predict, []

    def interrupted(self, texts, *arguments, **options):
        asked.append(list(texts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return predict(self, texts, *arguments, **options)

    monkeypatch.setattr(TaskModel, "predict", interrupted)
    result = samner(*command, out)
    assert result.exit_code == 130
    assert "finished so far: 2 texts; the same command with --resume goes on" in result.stderr
    assert not out.exists()

    other = samner(*command, out, "--resume", "--labels", "drug")
    assert other.exit_code == 2
    assert "leave out --resume to start over" in other.stderr

    asked += [[]]  # no more interrupts
    result = samner(*command, out, "--resume")
    assert result.exit_code == 0
    assert "going on after 2 texts" in result.stderr
    assert [len(batch) for batch in asked[3:]] == [2, 1]
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.jsonl.part").exists()


def test_an_interrupted_run_can_start_over(samner, saved_model: Path, texts: Path, tmp_path: Path):
    part, out = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl"
    part.write_text("left over\n")
    result = samner("extract", "--model", saved_model, texts, "-o", out)
    assert result.exit_code == 0
    assert "starting over" in result.stderr
    assert len(read_examples(out)) == 5
    assert not part.exists()


def test_resume_with_nothing_to_resume(samner, saved_model: Path, texts: Path, tmp_path: Path):
    result = samner("extract", "--model", saved_model, texts, "-o", tmp_path / "out.jsonl", "--resume")
    assert result.exit_code == 0
    assert "starting at the first text" in result.stderr


@pytest.fixture
def interrupted(samner, saved_model: Path, texts: Path, tmp_path: Path, monkeypatch) -> Path:
    """What a run leaves that was killed after two batches of two texts, in the middle of a line of the third."""
    monkeypatch.setattr("samner.data.batches._BATCH_TEXTS", 2)
    assert samner("extract", "--model", saved_model, texts, "-o", tmp_path / "whole.jsonl").exit_code == 0
    monkeypatch.setattr(
        "samner.cli.part_file.shutil.copyfileobj", lambda *files: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    assert samner("extract", "--model", saved_model, texts, "-o", tmp_path / "out.jsonl").exit_code == 130
    monkeypatch.undo()
    monkeypatch.setattr("samner.data.batches._BATCH_TEXTS", 2)
    part = tmp_path / "out.jsonl.part"
    part.write_bytes(part.read_bytes()[:-5])
    return part


def test_a_half_written_line_is_written_anew(
    samner, saved_model: Path, texts: Path, interrupted: Path, tmp_path: Path
):
    result = samner("extract", "--model", saved_model, texts, "-o", tmp_path / "out.jsonl", "--resume")
    assert "going on after 4 texts" in result.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("change", [lambda lines: ['{"text": "Other."}\n', *lines[1:]], lambda lines: lines[:3]])
def test_other_texts_are_not_gone_on_with(
    samner, saved_model: Path, texts: Path, interrupted: Path, tmp_path: Path, change
):
    texts.write_text("".join(change(texts.read_text("utf-8").splitlines(keepends=True))), "utf-8")
    before = interrupted.read_bytes()
    result = samner("extract", "--model", saved_model, texts, "-o", tmp_path / "out.jsonl", "--resume")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        *(2, f"error: {interrupted} is of other texts, labels, models or settings; leave out --resume to start over"),
    )
    assert interrupted.read_bytes() == before


def test_texts_that_were_added_since_are_read_too(
    samner, saved_model: Path, texts: Path, interrupted: Path, tmp_path: Path
):
    with texts.open("a") as file:
        file.write('{"text": "One more."}\n')
    result = samner("extract", "--model", saved_model, texts, "-o", tmp_path / "out.jsonl", "--resume")
    assert result.exit_code == 0
    assert len(read_examples(tmp_path / "out.jsonl")) == 6


def test_two_runs_do_not_write_one_file(samner, saved_model: Path, texts: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    with exclusive(out):
        result = samner("extract", "--model", saved_model, texts, "-o", out)
    assert result.exit_code == 2
    assert f"error: another run is writing {out} just now" in result.stderr
    assert samner("extract", "--model", saved_model, texts, "-o", out).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_pipe_is_answered_as_it_comes(saved_model: Path, number: signal.Signals):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("under nohup")
    command = [sys.executable, "-m", "samner", "extract", "--model", str(saved_model), "-", "--format", "text"]
    environment = {**os.environ, "PYTHONPATH": str(Path(samner.__file__).parents[1])}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin and process.stdout and process.stderr
    for text in ("Aspirin relieves fever.", "Nothing here."):
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == text  # while the pipe is open
    process.send_signal(number)  # while it waits for more
    assert process.wait() == 128 + number
    assert "Fatal" not in process.stderr.read()


def test_what_a_text_is_known_by_comes_back(samner, saved_model: Path, tmp_path: Path):
    given = [
        {"id": "a", "text": FIRST, "meta": {"page": 1}, "label": [["?"]]},
        {"id": 2, "text": "", "url": None},
    ]
    path, out = tmp_path / "docs.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in given))
    assert samner("extract", "--model", saved_model, path, "-o", out).exit_code == 0
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [{key: value for key, value in line.items() if key != "entities"} for line in written] == given
    assert written[0]["entities"]


def test_the_output_is_in_step_with_lines(samner, saved_model: Path, tmp_path: Path):
    (tmp_path / "a.txt").write_text(f"{FIRST}\n\n  \nNothing here.")
    result = samner("extract", "--model", saved_model, tmp_path / "a.txt")
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == [FIRST, "", "  ", "Nothing here."]


TYPED = {
    "id": [7, 8, 9],
    "body": [FIRST, "", "Rovers lost to Harbour City."],
    "when": [datetime(2026, 1, 2, 3, 4, 5), None, datetime(2026, 1, 3)],
    "raw": [b"\xff\x00", b"", None],
    "tags": [["a"], [], ["b", "c"]],
}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".parquet.gz"])
def test_columns_are_kept_as_they_are(samner, saved_model: Path, tmp_path: Path, suffix: str):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.feather
    import pyarrow.parquet

    given = pa.table(TYPED).replace_schema_metadata({"made": "here"})
    pyarrow.parquet.write_table(given, tmp_path / "in.parquet", row_group_size=2)
    out = tmp_path / f"out{suffix}"
    command = ["extract", "--model", saved_model, tmp_path / "in.parquet", "--format", "parquet:body"]
    result = samner(*command, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", out.name]
    [line, *_] = samner(*command).stdout.splitlines()
    found = read_examples(out, labelled=True)
    assert [example.text for example in found] == TYPED["body"]
    assert [(e.start, e.label) for e in found[0].entities] == [(0, "drug"), (17, "disease")]
    assert [to_fields(e, FIRST) for e in found[0].entities] == json.loads(line)["entities"]
    if suffix == ".parquet":
        table = pyarrow.parquet.read_table(out)
    elif suffix == ".arrow":
        table = pyarrow.feather.read_table(out)
    else:
        return
    assert table.column_names == ["id", "text", "when", "raw", "tags", "entities"]
    assert table.select(["id", "when", "raw", "tags"]).equals(given.select(["id", "when", "raw", "tags"]))
    assert table.schema.metadata[b"made"] == b"here"
    assert table["entities"].to_pylist()[1] == []


def test_lines_become_columns_and_the_other_way_round(samner, saved_model: Path, tmp_path: Path):
    pytest.importorskip("pyarrow")
    given = [{"id": "a", "text": FIRST, "meta": {"page": 1}}, {"id": 2, "text": "", "n": 3}]
    lines, columns, again = tmp_path / "in.jsonl", tmp_path / "out.parquet", tmp_path / "again.jsonl.gz"
    lines.write_text("".join(json.dumps(record) + "\n" for record in given))
    assert samner("extract", "--model", saved_model, lines, "-o", columns).exit_code == 0
    assert samner("extract", "--model", saved_model, columns, "-o", again).exit_code == 0
    with gzip.open(again) as file:
        written = [json.loads(line) for line in file]
    assert [{key: value for key, value in line.items() if key != "entities"} for line in written] == given
    assert [e.label for e in read_examples(columns)[0].entities] == ["drug", "disease"]


def test_a_dataset_of_several_splits(samner, saved_model: Path, tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["x", "y"])})
    splits = {"train": {"text": [FIRST, ""], "kind": [1, 0]}, "test": {"text": ["Nothing here."], "kind": [1]}}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_dict(its, features) for name, its in splits.items()}
    ).save_to_disk(str(tmp_path / "in"))
    out = tmp_path / "out"
    command = ["extract", "--model", saved_model, tmp_path / "in", "-o", out, "--to", "datasets"]
    assert samner(*command).exit_code == 0
    saved = datasets.load_from_disk(str(out))
    assert saved["split"] == ["train", "train", "test"]
    assert saved["text"] == [FIRST, "", "Nothing here."]
    assert [[e["label"] for e in its] for its in saved["entities"]] == [["drug", "disease"], [], []]
    assert saved.features["kind"].names == ["x", "y"]
    again = samner(*command, "--force")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
def test_an_interrupted_run_goes_on_to_columns(
    samner, saved_model: Path, texts: Path, interrupted: Path, tmp_path: Path, name: str
):
    pytest.importorskip("pyarrow")
    interrupted.rename(tmp_path / f"{name}.part")
    result = samner("extract", "--model", saved_model, texts, "-o", tmp_path / name, "--resume")
    assert (result.exit_code, "going on after 4 texts" in result.stderr) == (0, True)
    assert read_examples(tmp_path / name) == read_examples(tmp_path / "whole.jsonl")
    assert not (tmp_path / f"{name}.part").exists()


def test_columns_that_changed_meanwhile(samner, saved_model: Path, tmp_path: Path, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pyarrow.parquet.write_table(pa.table({"text": [FIRST, "b"]}), path)
    predict = TaskModel.predict

    def changing(self, *arguments, **options):
        pyarrow.parquet.write_table(pa.table({"text": [FIRST, "c"]}), path)
        return predict(self, *arguments, **options)

    monkeypatch.setattr(TaskModel, "predict", changing)
    result = samner("extract", "--model", saved_model, path, "-o", out)
    assert result.exit_code == 2
    assert f"error: {path}: was changed while its texts were read" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "conll"], "--to must be jsonl, parquet, arrow, datasets, not 'conll'"),
        (["--to", "parquet"], "--to parquet needs -o: on standard output goes JSON Lines"),
        (["--to", "arrow", "-o", "found.parquet"], "found.parquet: its suffix says parquet, --to says arrow"),
    ],
)
def test_formats_that_cannot_be_written(samner, saved_model: Path, texts: Path, options, message: str):
    result = samner("extract", "--model", saved_model, texts, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_columns_need_pyarrow(samner, saved_model: Path, texts: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = samner("extract", "--model", saved_model, texts, "-o", tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert "pip install 'samner[formats]'" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out"], "--ray needs --model: adapt to a few hundred of the texts first, with samner adapt"),
        (["-o", "out", "--model", "m", "--resume"], "--resume is not for --ray, which goes on by itself"),
        (["--model", "m"], "--ray reads a folder of files and writes another: name both (-o FOLDER)"),
    ],
)
def test_what_is_not_for_many_machines(samner, texts: Path, options: list[str], message: str):
    result = samner("extract", texts.parent, "--ray", "local", *options)
    assert result.exit_code == 2
    assert f"error: {message}" in result.stderr
    assert "error: --workers is for --ray" in samner("extract", texts, "--labels", "a", "--workers", 2).stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_machines(samner, saved_model: Path, texts: Path, tmp_path: Path):
    pytest.importorskip("ray", reason="Ray is not installed")
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    texts.rename(folder / "texts.jsonl")
    command = ["extract", "--ray", "local", "--workers", 1, "--model", saved_model, folder, "-o", out]
    result = samner(*command, "--to", "parquet")
    assert result.exit_code == 0, result.stderr
    assert next(example.text for example in read_examples(out / "texts.jsonl.parquet")) == FIRST
    assert "in 5 texts of 1 file" in result.stderr
    result = samner(*command)
    assert result.exit_code == 2
    assert f"error: {out} holds answers of a run with other format of answers" in result.stderr
