from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import samner

VERBS = [
    *(["extract"], ["adapt"], ["select"], ["train"], ["merge"], ["export"], ["evaluate"], ["benchmark"]),
    *(["pool"], ["prompts"]),
    *(["pool", verb] for verb in ("create", "list", "show", "add", "remove", "verify")),
    *(["prompts", verb] for verb in ("list", "show")),
]
HEAVY = ("torch", "transformers", "peft", "sentence_transformers", "datasets", "safetensors", "numpy")


def test_help_of_every_verb_is_written_without_anything_heavy():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from samner.cli.app import app\n"
        f"for verb in {[[], *VERBS]}:\n"
        "    result = CliRunner().invoke(app, [*verb, '--help'])\n"
        "    assert result.exit_code == 0 and 'Usage: ' in result.output, verb\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_keeps_its_paragraphs(samner, verb):
    result = samner(*verb, "-h")
    assert result.exit_code == 0
    assert " ".join([verb[0], *verb[1:]]) in result.stdout
    assert "[required]" in result.stdout or verb[-1] in (
        "pool",
        "prompts",
        "list",
        "verify",
        "evaluate",
        "train",
        "show",
    )


def test_version(samner):
    result = samner("--version")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("samner 0.")


def test_the_number_format_is_for_all_verbs(samner, monkeypatch):
    monkeypatch.setenv("SAMNER_PRECISION", "float32")
    assert samner("--precision", "bfloat16", "prompts", "list").exit_code == 0
    assert os.environ["SAMNER_PRECISION"] == "bfloat16"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--precision", "half", "prompts"],
            "Invalid value for '--precision': 'half' is not one of 'float32', 'bfloat16'",
        ),
        (["--nope"], "No such option: --nope; see 'samner -h'"),
    ],
    ids=["value", "option"],
)
def test_what_is_wrong_before_the_verb_is_one_line_and_2(samner, given, message):
    result = samner(*given)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: ") and message.split("; see")[0] in result.stderr


def test_nothing_is_answered_by_the_help_alone(samner):
    result = samner()
    assert result.exit_code == 2
    assert "Usage: " in result.output and "error" not in result.output


def test_a_wrong_verb_gets_a_suggestion(samner):
    result = samner("extrct")
    assert result.exit_code == 2
    assert "Did you mean 'extract'" in result.stderr


def test_a_missing_argument_is_named(samner):
    result = samner("extract")
    assert result.exit_code == 2
    assert "TEXTS" in result.stderr


def test_an_error_is_one_line_and_2(samner, tmp_path):
    result = samner("extract", tmp_path / "no.jsonl", "--labels", "a")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"error: {tmp_path}/no.jsonl: no such file or folder\n"


def test_an_error_of_the_system_is_one_line_too(samner, monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", "/some/file")

    monkeypatch.setattr("samner.cli.evaluate.read_gold", refuse)
    result = samner("evaluate", "--gold", "a", "--predicted", "b")
    assert (result.exit_code, result.stderr) == (2, "error: /some/file: Permission denied\n")


def test_an_interrupt_is_130(samner, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("samner.cli.evaluate.read_gold", interrupt)
    result = samner("evaluate", "--gold", "a", "--predicted", "b")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


def test_a_reader_that_leaves_is_no_error(tmp_path):
    text = {"text": "Ada", "entities": [{"start": 0, "end": 3, "label": "person"}]}
    (tmp_path / "gold.jsonl").write_text(json.dumps(text) + "\n")
    command = [sys.executable, "-c", "from samner.cli import main; main()", "evaluate", "--json"]
    files = ["--gold", "gold.jsonl", "--predicted", "gold.jsonl"]
    process = subprocess.Popen(
        command + files, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.parametrize(
    ("verb", "closed", "code", "error"),
    [
        ("prompts list", ">&-", 0, ""),
        ("prompts list", "<&- >&- 2>&-", 0, ""),
        ("data convert {texts} {out}", "2>&-", 0, ""),
        ("data convert - {out}", "<&-", 2, "error: standard input: holds no text; at least one is needed\n"),
    ],
)
def test_a_stream_that_is_closed_is_as_the_null_device(tmp_path, verb: str, closed: str, code: int, error: str):
    (tmp_path / "texts.txt").write_text("Ada\n")
    python = shlex.join([sys.executable, "-c", "from samner.cli import main; main()"])
    verb = verb.format(texts=tmp_path / "texts.txt", out=tmp_path / "out.jsonl")
    done = subprocess.run(["sh", "-c", f"{python} {verb} {closed}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", error)


def test_a_folder_that_was_removed_is_told(tmp_path):
    (tmp_path / "gone").mkdir()
    python = shlex.join([sys.executable, "-c", "from samner.cli import main; main()"])
    command = f'cd "$1" && rmdir "$1" && exec {python} pool list'
    env = os.environ | {"PYTHONPATH": str(Path(samner.__file__).parents[1])}  # Python itself ends at a relative one
    done = subprocess.run(["sh", "-c", command, "sh", str(tmp_path / "gone")], capture_output=True, text=True, env=env)
    said = "error: the folder that this runs in was removed; go to one that exists\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_the_modes_and_methods_in_the_help_are_those_there_are():
    from samner.cli import options
    from samner.merging import methods
    from samner.task_model import MODES

    assert all(mode in options.Mode.__metadata__[0].help for mode in MODES)
    assert all(method in options.Method.__metadata__[0].help for method in methods())


def test_device_that_is_not_there(samner, texts, tiny_pool: Path):
    result = samner("select", texts, "--pool", tiny_pool, "--labels", "a", "--device", "cuda:99")
    assert result.exit_code == 2
    assert "error: the device 'cuda:99' cannot be used here" in result.stderr
