"""A whole evaluation on a toy pool: every arm, resuming, and what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from samner.adaptation import adapt
from samner.errors import DataError, PoolError, SamnerError
from samner.evaluation.config import read_config
from samner.evaluation.harness import run
from samner.evaluation.measure import Bench
from samner.evaluation.results import Results, TargetResult
from samner.evaluation.section import markers
from samner.evaluation.tables import markdown
from samner.evaluation.target import read_target
from samner.pool import ExpertCard, ExpertPool
from samner.scoring import score
from samner.selection import Selection

ARMS = ["base", "medicine", "sports", "unified", "similarity", "sampling", "union", "economy"]
SETTINGS = {"pool": "pool", "experts": 1, "samples": 2, "baselines": ["unified"], "averages": {"half": ["pharma"]}}
LABELLED = {
    "pharma": [
        ("Codeine relieves fever within hours.", {"Codeine": "drug", "fever": "disease"}),
        ("Naproxen relieves headache.", {"Naproxen": "drug", "headache": "disease"}),
        ("Nothing to see.", {"Nothing": "miscellaneous"}),
    ],
    "games": [
        ("Omar Haddad scored twice for Rovers.", {"Omar Haddad": "person", "Rovers": "team"}),
        ("Lena Fischer scored for United.", {"Lena Fischer": "person", "United": "team"}),
    ],
}

BEGIN, END = markers("samner evaluate")


def line(text: str, found: dict[str, str]) -> str:
    spans = [
        {"start": text.index(part), "end": text.index(part) + len(part), "label": la} for part, la in found.items()
    ]
    return json.dumps({"text": text, "entities": spans}) + "\n"


def configure(folder: Path, **changes: Any) -> Path:
    targets = {name: {"test": f"{name}.jsonl", "unlabeled": f"{name}.txt"} for name in LABELLED}
    path = folder / "targets.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "targets": targets, **changes}, sort_keys=False))
    return path


def wreck(expert: Path) -> None:
    """Make an expert answer nonsense: the toy experts would all answer the same."""
    weights = load_file(expert / "adapter_model.safetensors")
    noise = torch.Generator().manual_seed(0)
    for name in weights:
        if "lora_B" in name:
            weights[name] = torch.randn(weights[name].shape, generator=noise)
    save_file(weights, expert / "adapter_model.safetensors")
    ExpertCard.read(expert).write(expert)


@pytest.fixture(scope="module")
def folder(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with a baseline, two targets, and their configuration."""
    root = tmp_path_factory.mktemp("evaluation")
    shutil.copytree(tiny_pool, root / "pool")
    wreck(root / "pool" / "experts" / "sports")
    shutil.copytree(root / "pool" / "experts" / "sports", root / "pool" / "baselines" / "unified")
    for name, examples in LABELLED.items():
        (root / f"{name}.jsonl").write_text("".join(line(*example) for example in examples))
        (root / f"{name}.txt").write_text("".join(f"{text}\n" for text, _ in examples))
    configure(root)
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return run(
        folder / "targets.yaml",
        out=folder / "r" / "results.md",
        json_out=folder / "results.json",
        work=folder / "work",
    )


def count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the targets that are measured from here on."""
    measured: list[str] = []
    original = Bench.measure

    def measure(self: Bench, target: Any, watch: Any) -> Any:
        measured.append(target.name)
        return original(self, target, watch)

    monkeypatch.setattr(Bench, "measure", measure)
    return measured


def test_every_arm_is_measured(results: Results) -> None:
    assert [target.name for target in results.targets] == ["pharma", "games"]
    assert results.arms == ARMS
    for target in results.targets:
        assert list(target.reports) == list(target.seconds["predict"]) == list(target.texts_per_second) == ARMS
        assert list(target.seconds["selection"]) == ["similarity", "sampling"]
        assert list(target.seconds["merge"]) == ["similarity", "sampling", "economy"]
        assert all(value > 0 for value in [*target.seconds["predict"].values(), target.seconds["load"]])
        assert target.machine["cores"] >= 1
    assert results.targets[0].labels == ["disease", "drug"]
    assert results.targets[0].texts == results.targets[0].unlabelled == 3


def test_arms_answer_as_themselves(results: Results) -> None:
    for target in results.targets:
        f1 = {arm: target.f1(arm, "strict") for arm in ARMS}
        assert f1["base"] == f1["medicine"] > 0.5
        assert f1["sports"] == f1["unified"] < f1["medicine"]


def test_numbers_are_those_of_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampling(_: Any, cosine: dict[str, float], *__: Any, **___: Any) -> Selection:
        return Selection("sampling", ("sports",), ("sports", "medicine"), cosine)

    # so that the two strategies disagree
    monkeypatch.setattr("samner.adaptation.select_by_sampling", sampling)
    monkeypatch.setattr("samner.evaluation.measure.select_by_sampling", sampling)
    config = configure_copy(folder, merge={"density": 1.0})
    measured = run(config, only=["pharma"]).targets[0]
    assert measured.merges == {
        "similarity": {"medicine": 1.0},
        "sampling": {"sports": 1.0},
        "economy": {"medicine": 1.0, "sports": 1.0},
    }
    texts = read_target(read_config(config).targets[0])
    pool = ExpertPool.load(folder / "pool")
    for mode in ("similarity", "sampling", "union", "economy"):
        model = adapt(pool, texts.unlabelled, texts.types, mode=mode, experts=1, density=1.0)
        predicted = model.predict([example.text for example in texts.test])
        assert measured.reports[mode] == json.loads(json.dumps(score(texts.test, predicted, texts.types).to_dict()))
    # at density 1 an expert is merged into itself
    f1 = {arm: measured.f1(arm, "strict") for arm in ARMS}
    assert (f1["similarity"], f1["sampling"]) == pytest.approx((f1["medicine"], f1["sports"]))
    reading = measured.seconds["predict"]
    assert reading["union"] == pytest.approx(reading["similarity"] + reading["sampling"], abs=1e-3)


def test_only_what_an_arm_needs_is_done(folder: Path) -> None:
    measured = run(configure_copy(folder, arms=["similarity", "base"]), only=["games"]).targets[0]
    assert list(measured.reports) == ["base", "similarity"]
    assert list(measured.selections) == list(measured.merges) == ["similarity"]


def configure_copy(folder: Path, **changes: Any) -> Path:
    """Another configuration beside the first."""
    original = (folder / "targets.yaml").read_text()
    copy = configure(folder, **changes).rename(folder / "other.yaml")
    (folder / "targets.yaml").write_text(original)
    return copy


def test_averages(results: Results) -> None:
    f1 = [target.f1("union", "string") for target in results.targets]
    assert results.average("all", "union", "string") == pytest.approx(sum(f1) / 2)
    assert results.average("half", "union", "string") == f1[0]


def test_json_holds_everything_but_texts(folder: Path, results: Results) -> None:
    text = (folder / "results.json").read_text()
    values = json.loads(text)
    assert values == json.loads(json.dumps(results.to_dict()))
    assert TargetResult(**values["targets"]["games"]).reports == results.targets[1].reports
    assert values["averages"]["half"]["targets"] == ["pharma"]
    assert values["settings"]["merge"] == {"method": "ties"}
    assert values["targets"]["pharma"]["versions"]["samner"]
    assert set(values["targets"]["pharma"]["selections"]["sampling"]["f1"]) == {"medicine", "sports"}
    assert not any(sentence in text for examples in LABELLED.values() for sentence, _ in examples)


def test_markdown_of_a_new_file(folder: Path, results: Results) -> None:
    text = (folder / "r" / "results.md").read_text()
    assert text == f"# Results\n\n{BEGIN}\n\n{markdown(results).strip()}\n\n{END}\n"
    assert f"- Made by `samner evaluate {folder / 'targets.yaml'}`" in text
    for heading in ("Strict span F1", "UniversalNER string F1", "Confidence intervals", "Experts chosen"):
        assert f"### {heading}\n" in text
    assert "| target | base | medicine | sports | unified | similarity | sampling | union | economy |" in text
    assert "| **average, half (1)** |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 6
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_the_same_again_measures_nothing(
    folder: Path, results: Results, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    measured = count(monkeypatch)
    again = run(folder / "targets.yaml", work=folder / "work")
    assert measured == []
    assert again.targets == results.targets
    out, err = capfd.readouterr()
    assert out == ""
    assert [row.split(":")[0] for row in err.splitlines() if "kept from" in row] == ["pharma", "games"]


def test_what_changed_is_measured_anew(folder: Path, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    work = folder / "changing"
    shutil.copytree(folder / "work", work)
    measured = count(monkeypatch)
    fewer = {"arms": ["base", "similarity"]}

    run(configure_copy(folder, **fewer), work=work, only=["games"])
    assert measured == ["games"]  # other settings

    (folder / "pharma.txt").write_text("Triptan relieves fever.\n")
    try:
        run(configure_copy(folder, **fewer), work=work)
        assert measured == ["games", "pharma"]  # other texts
    finally:
        (folder / "pharma.txt").write_text("".join(f"{text}\n" for text, _ in LABELLED["pharma"]))

    (work / "games.json").write_text('{"name": "games"')
    card = folder / "pool" / "experts" / "medicine" / "expert.json"
    original = card.read_text()
    card.write_text(json.dumps({**json.loads(original), "description": "Another"}))
    try:
        run(configure_copy(folder, **fewer), work=work)
        assert measured == ["games", "pharma", "pharma", "games"]  # another expert, and a damaged file
    finally:
        card.write_text(original)


def test_what_is_finished_survives_a_stop(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure_copy(folder, arms=["base"])
    original = Bench.measure

    def stop(self: Bench, target: Any, watch: Any) -> Any:
        if target.name == "games":
            raise KeyboardInterrupt
        return original(self, target, watch)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "measure", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, work=tmp_path, out=tmp_path / "results.md")
    assert [path.name for path in tmp_path.iterdir()] == ["pharma.json"]
    measured = count(monkeypatch)
    run(config, work=tmp_path, out=tmp_path / "results.md")
    assert measured == ["games"]
    assert "Experts chosen" not in (tmp_path / "results.md").read_text()  # there was nothing to choose


def test_what_people_wrote_stays(folder: Path, results: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    path.write_bytes(f"# Findings\r\n\r\nIt works.\r\n\r\n{BEGIN}\nstale\n{END}\r\n\r\n## More\r\n".encode())
    for _ in range(2):
        run(folder / "targets.yaml", work=folder / "work", out=path, command="samner evaluate x.yaml")
    text = path.read_bytes().decode()
    assert text.startswith(f"# Findings\r\n\r\nIt works.\r\n\r\n{BEGIN}\n\n- Made by `samner evaluate x.yaml`\n")
    assert text.endswith(f"|\n\n{END}\r\n\r\n## More\r\n")
    assert "stale" not in text and text.count("### Strict span F1") == 1


@pytest.mark.parametrize("text", ["# Mine\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_file_without_a_place_is_refused_at_once(folder: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.md"
    path.write_text(text)
    with pytest.raises(SamnerError, match="must hold the lines"):
        run(folder / "targets.yaml", work=tmp_path / "work", out=path)
    assert path.read_text() == text
    assert not list((tmp_path / "work").iterdir())


def test_only_some_targets(folder: Path, results: Results) -> None:
    some = run(folder / "targets.yaml", work=folder / "work", only=["games"])
    assert [target.name for target in some.targets] == ["games"]
    assert dict(some.averages) == {"all": ("games",)}  # half an average would be another number of the same name
    assert some.command.endswith(" --only games")
    with pytest.raises(SamnerError, match="has no target 'x'; it has: pharma, games"):
        run(folder / "targets.yaml", only=["x"])


def test_another_pool(folder: Path, results: Results) -> None:
    pool = str(folder / "pool")
    same = run(configure_copy(folder, pool="nowhere"), pool=pool, work=folder / "work")
    assert [target.finished for target in same.targets] == [target.finished for target in results.targets]
    assert same.pool == pool and same.command.endswith(f" --pool {pool}")


def test_a_result_says_what_the_pool_merges_with(folder: Path, tmp_path: Path) -> None:
    pool = Path(shutil.copytree(folder / "pool", tmp_path / "pool"))
    (pool / "pool.json").write_text('{"format": 1, "base": "base", "merge": {"lam": 0.75}}')
    own = run(configure_copy(folder, arms=["similarity"], pool=str(pool)), only=["games"])
    assert own.settings["merge"] == {"method": "ties", "lam": 0.75}
    said = run(configure_copy(folder, arms=["similarity"], pool=str(pool), merge={"lam": 0.5}), only=["games"])
    assert said.settings["merge"] == {"method": "ties", "lam": 0.5}


def test_bad_parts_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SamnerError, match=r"other\.yaml: pool: no pool at 'nowhere'"):
        run(configure_copy(folder, pool="nowhere"))
    with pytest.raises(PoolError, match="no baseline 'best'; it has: unified"):
        run(configure_copy(folder, baselines=["best"]))
    with pytest.raises(SamnerError, match="named 'medicine' as another arm is"):
        shutil.copytree(folder / "pool" / "baselines" / "unified", folder / "pool" / "baselines" / "medicine")
        run(configure_copy(folder, baselines=["medicine"]))
    for content, kind, message in (
        ("{", DataError, "gold.jsonl:1: not valid JSON"),
        ('{"text": "x"}\n', SamnerError, "gold.jsonl: no text has an entity"),
        (line("Oslo", {"Oslo": "misc"}), SamnerError, "gold.jsonl: no label is left to score"),
    ):
        (tmp_path / "gold.jsonl").write_text(content)
        (tmp_path / "texts.txt").write_text("x\n")
        with pytest.raises(kind, match=message):
            targets = {"a": {"test": "gold.jsonl", "unlabeled": "texts.txt"}}
            run(configure_copy(folder, targets=targets, averages={}), data=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SamnerError, match="file: cannot be made"):
        run(folder / "targets.yaml", work=tmp_path / "file")


def test_a_damaged_baseline_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pool", tmp_path / "pool")
    weights = tmp_path / "pool" / "baselines" / "unified" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    pool = ExpertPool.load(tmp_path / "pool")
    with pytest.raises(PoolError, match="damaged or changed"):
        pool.load_baseline("unified")
    with pytest.raises(PoolError, match="cannot name an expert"):
        pool.load_baseline("../experts/medicine")
