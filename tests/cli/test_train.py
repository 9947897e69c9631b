from __future__ import annotations

import json
from pathlib import Path

import pytest

from samner.pool import ExpertCard

FAST = ["--option", "steps=2", "--option", "rank=2"]


def write(path: Path, texts: int, label: str = "city") -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = [
        {"text": f"Paris, visit {i}.", "entities": [{"start": 0, "end": 5, "label": label}]} for i in range(texts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_from_labelled_texts_to_an_expert_in_a_pool(samner, tiny_pool: Path, tmp_path: Path):
    data, out = write(tmp_path / "travel" / "train.jsonl", 50).parent, tmp_path / "cities"
    about = ["--description", "Towns", "--licence", "CC0"]
    result = samner("train", data, "--pool", tiny_pool, "--name", "cities", "-o", out, *FAST, *about)
    assert result.exit_code == 0, result.stderr
    assert "travel: 20 of its 50 texts, drawn at random, are held out" in result.stderr
    assert f"training cities on travel (30 texts), over the base of {tiny_pool}" in result.stderr
    assert result.stdout.startswith(f"wrote {out}: 1 type, 2 steps in ")
    assert "dev F1 0." in result.stdout
    assert result.stdout.endswith(
        f"next: samner pool add {tiny_pool} {out}\nthen: samner adapt --pool {tiny_pool} ...\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cities", "travel"]
    card = ExpertCard.read(out)
    assert (card.types, card.description) == (("city",), "Towns")
    assert [(source.name, source.licence) for source in card.data] == [("travel", "CC0")]
    assert card.training["outcome"]["best_score"] is not None

    samner("pool", "create", tmp_path / "mine", "--from", tiny_pool, "--empty")
    assert samner("pool", "add", tmp_path / "mine", out).exit_code == 0


def test_where_no_pool_is_named_it_is_said_which_is_taken_and_how_the_expert_is_used(samner, tmp_path: Path):
    data, out = write(tmp_path / "data.jsonl", 5), tmp_path / "x"
    result = samner("train", data, "--name", "x", "-o", out, *FAST)
    assert result.exit_code == 0, result.stderr
    assert "over the base of builtin" in result.stderr
    assert result.stdout.splitlines()[-3:] == [
        "next, once: samner pool create my-pool --from builtin",
        f"next: samner pool add my-pool {out}",
        "then: samner adapt --pool my-pool ...",
    ]


def test_files_dev_files_and_json(samner, tiny_pool: Path, tmp_path: Path):
    one, two = write(tmp_path / "one.jsonl", 6), write(tmp_path / "two.jsonl", 7, "town")
    dev = ["--dev", write(tmp_path / "dev1.jsonl", 3), "--dev", write(tmp_path / "dev2.jsonl", 2, "town")]
    licences = ["--licence", "CC0", "--licence", "two=MIT"]
    command = ["train", one, two, "--pool", tiny_pool, "--name", "x", "-o", tmp_path / "x", *FAST]
    result = samner(*command, *dev, *licences, "--max-minutes", "5", "--json")
    assert result.exit_code == 0, result.stderr
    card = json.loads(result.stdout)["card"]
    assert card["data"] == [
        {"name": "one", "licence": "CC0", "texts": 6},
        {"name": "two", "licence": "MIT", "texts": 7},
    ]
    assert card["types"] == ["city", "town"]
    assert card["training"]["recipe"]["max_minutes"] == 5
    assert card["training"]["outcome"]["best_score"] is not None
    assert "held out" not in result.stderr


def test_a_folder_with_a_dev_file_and_one_with_too_few_texts(samner, tiny_pool: Path, tmp_path: Path):
    write(tmp_path / "a" / "train.jsonl", 5)
    write(tmp_path / "b" / "train.jsonl", 5)
    write(tmp_path / "b" / "dev.jsonl", 3)
    command = ["--pool", tiny_pool, "--name", "x", "-o", tmp_path / "x", *FAST]
    result = samner("train", tmp_path / "a", tmp_path / "b" / "train.jsonl", *command)
    assert result.exit_code == 0, result.stderr
    assert "a: too few texts (5) to hold some out" in result.stderr
    assert "dev F1" not in result.stdout
    (tmp_path / "x").rename(tmp_path / "y")
    result = samner("train", tmp_path / "b", *command)
    assert "dev F1" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--option", "stepz=3"], "--option: stepz: unknown setting; known are steps, epochs,"),
        (["--option", "steps"], "write key=value"),
        (["--option", "rank=2.5"], "--option: rank: input should be a valid integer, not 2.5"),
        (["--option", "learning_rate=fast"], "learning_rate: input should be a valid number, not 'fast'"),
        (["--option", "learning_rate=.nan"], "learning_rate: input should be a finite number"),
        (["--option", "rank=["], "--option rank=[:1: not valid YAML"),
        (["--option", "rank=0"], "rank: input should be greater than 0"),
        (["--option", "rank=2", "--option", "rank=3"], "'rank' is given twice"),
        (["--max-minutes", "0"], "max_minutes: input should be greater than 0"),
        (["--licence", "other=MIT"], "there is no data set 'other'; there are data"),
        (["--dev", "data.jsonl", "--dev", "data.jsonl"], "2 --dev files for 1 data sets"),
        (["--dev", "no.jsonl"], "no.jsonl: no such file"),
        (["--name", "base"], "'base' cannot name an expert"),
        (["-o", "data.jsonl"], "exists already"),
        (["-o", "no/such/x"], "there is no folder no/such"),
        (["--pool", "no-pool"], "no pool at 'no-pool'"),
    ],
)
def test_wrong_arguments(samner, tiny_pool: Path, tmp_path: Path, monkeypatch, arguments: list[str], message: str):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data.jsonl", 5)
    defaults = {"--pool": tiny_pool, "--name": "x", "-o": "x"}
    rest = [part for option, value in defaults.items() if option not in arguments for part in (option, value)]
    result = samner("train", "data.jsonl", *rest, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_wrong_data(samner, tiny_pool: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "both" / "train.jsonl", 3)
    (tmp_path / "both" / "train.conll").write_text("Paris\tB-city\n")
    (tmp_path / "plain.txt").write_text("Paris\n")
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "entities": [{"start": 0, "end": 9, "label": "x"}]}\n')
    twice = write(tmp_path / "twice.jsonl", 3)
    for data, message in (
        ([tmp_path / "no"], "no such file or folder"),
        ([tmp_path / "empty"], "holds no train.jsonl"),
        ([tmp_path / "both"], "holds both train.conll and train.jsonl"),
        ([tmp_path / "plain.txt"], "no text has an entity, so there is nothing to score or learn from"),
        ([tmp_path / "bad.jsonl"], "bad.jsonl:1: entities[0]: 0:9 lies outside"),
        ([twice, twice], "is given twice"),
    ):
        result = samner("train", *data, "--pool", tiny_pool, "--name", "x", "-o", tmp_path / "x")
        assert result.exit_code == 2
        assert message in result.stderr
    assert not (tmp_path / "x").exists()


def test_data_sets_of_one_name_are_told_apart(tmp_path: Path):
    from samner.training import read_labelled

    paths = [write(tmp_path / folder / "news.jsonl", 1) for folder in ("a", "b")]
    assert [each.name for each in read_labelled(paths)] == [str(path) for path in paths]


def test_the_draw_of_the_dev_split_is_seeded_and_parts_no_equal_texts():
    from samner.entities import Entity, Example
    from samner.training import LabelledSet, training_data

    examples = [Example(f"text {i % 100}", (Entity(0, 4, "word"),)) for i in range(300)]

    def dev_texts(seed: int) -> list[str]:
        data = training_data([LabelledSet("x", examples)], seed)
        train, dev = ({e.text for e in sets[0].examples} for sets in (data.train, data.dev))
        assert not train & dev
        assert len(data.dev[0].examples) == 60
        return sorted(dev)

    assert dev_texts(1) == dev_texts(1) != dev_texts(2)


def test_interrupted_resumed_and_cleared_away(samner, tiny_pool: Path, tmp_path: Path, monkeypatch):
    data, run = write(tmp_path / "data.jsonl", 50), tmp_path / "x.run"
    command = ["train", data, "--pool", tiny_pool, "--name", "x", "-o", tmp_path / "x", *FAST]
    from samner.backbones.encoder import training

    dev_score = training.dev_score

    scores = iter([0.0])

    def interrupt(*arguments, **asked):
        if (score := next(scores, None)) is None:  # at the second evaluation
            raise KeyboardInterrupt
        return score

    monkeypatch.setattr(training, "dev_score", interrupt)
    result = samner(*command)
    assert result.exit_code == 130
    assert f"--resume goes on from the checkpoint in {run}" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "x.run"]

    result = samner(*command)
    assert result.exit_code == 2
    assert "go on with --resume, or remove it" in result.stderr

    monkeypatch.setattr(training, "dev_score", dev_score)
    result = samner(*command, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "resumed at step 2 of 2" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "x"]


def test_interrupted_before_the_first_checkpoint(samner, tiny_pool: Path, tmp_path: Path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("samner.training.train_expert", interrupt)
    data = write(tmp_path / "data.jsonl", 5)
    result = samner("train", data, "--pool", tiny_pool, "--name", "x", "-o", tmp_path / "x", "--resume")
    assert result.exit_code == 130
    assert "starting from the beginning" in result.stderr
    assert "there was no checkpoint yet" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
