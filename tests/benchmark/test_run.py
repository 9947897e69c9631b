"""A whole benchmark on a toy pool: every arm, what is kept, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samner.adaptation import adapt
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.benchmark.answers import TargetTexts, read_target
from samner.benchmark.config import TargetSettings, read_benchmark
from samner.benchmark.results import KINDS
from samner.benchmark.run import KEPT
from samner.benchmark.run import run as measure
from samner.errors import SamnerError
from samner.pool import ExpertPool
from samner.scoring import score

Configure = Callable[..., Path]


def run(config: Path, out: Path, *, work: Path | None = None, **asked: Any) -> dict[str, Any]:
    """The results of the one pool."""
    (results,) = measure(read_benchmark(config, **asked), out, work=work).values()
    return results


@pytest.fixture(scope="module")
def folder(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    configure(folder)
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    return run(folder / "benchmark.yaml", folder / "out")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """How many texts were given to which model from here on."""
    calls: list[tuple[int, str]] = []
    original = EncoderBackbone.predict

    def predict(self: Any, texts: Any, types: Any, models: Any, threshold: float, *rest: Any) -> Any:
        calls.extend((len(texts), model) for model in models)
        return original(self, texts, types, models, threshold, *rest)

    monkeypatch.setattr(EncoderBackbone, "predict", predict)
    return calls


def runs(results: dict[str, Any], arm: str, target: str = "pharma") -> list[dict[str, Any]]:
    return next(a for a in results["arms"] if a["name"] == arm)["targets"][target]


def texts_of(made: Path, name: str = "pharma") -> TargetTexts:
    files = TargetSettings(test=str(made / f"{name}.jsonl"), unlabeled=str(made / f"{name}.txt"))
    return read_target(name, files)


def test_every_arm_is_there(results: dict[str, Any]) -> None:
    assert [arm["name"] for arm in results["arms"]] == [
        *("base", "medicine", "sports", "unified", "random", "all", "similarity", "sampling", "union"),
        *("intersection", "economy", "economy-unweighted", "economy-common", "economy-average"),
        *("ensemble-union", "ensemble-majority", "best", "oracle-k1", "oracle-k2", "union k=1", "union k=2"),
        *("union method=linear", "union method=dare_ties", "unified lam=0.5", "unified lam=1.0"),
    ]
    for arm in results["arms"]:
        for target, found in arm["targets"].items():
            assert [one["seed"] for one in found] == ([0, 1, 2] if arm["name"] == "random" else [0])
            for one in found:
                for kind in KINDS:
                    low, high = one[kind]["f1_ci95"]
                    assert 0 <= low <= one[kind]["f1"] + 1e-9 and one[kind]["f1"] - 1e-9 <= high <= 1
                assert one["seconds"] > 0
                assert one["texts"] == min(arm["settings"]["texts"] or 9, results["targets"][target]["texts"])
    methods = [arm for arm in results["arms"] if arm["group"] == "method"]
    assert [arm["x"] for arm in methods] == ["linear", "dare_ties"]
    assert methods[0]["title"] == "Merged method=linear"


def test_scores_are_those_of_the_library(results: dict[str, Any], made: Path) -> None:
    texts, pool = texts_of(made), ExpertPool(made / "pool")
    for mode in ("similarity", "sampling", "union", "intersection", "economy"):
        model = adapt(pool, texts.unlabelled, texts.types, mode=mode, experts=1, samples=2)
        predicted = model.predict([example.text for example in texts.test])
        expected = json.loads(json.dumps(score(texts.test, predicted, texts.types).to_dict()))
        (measured,) = runs(results, mode)
        assert {kind: measured[kind] for kind in KINDS} == {kind: expected[kind] for kind in KINDS}
        assert measured["experts"] == {name: dict(merge.experts) for name, merge in model.merges.items()}


def test_arms_answer_as_themselves(results: dict[str, Any]) -> None:
    for target in ("pharma", "games"):
        f1 = {arm["name"]: arm["targets"][target][0]["strict"]["f1"] for arm in results["arms"]}
        assert f1["unified"] == f1["sports"]
        assert f1["all"] == f1["oracle-k2"]
        union = runs(results, "union", target)[0]
        assert runs(results, "union k=2", target)[0]["models"] == 1  # both strategies have both experts: one merge
        both = set().union(*union["experts"].values())
        for name in ("ensemble-union", "ensemble-majority"):
            assert set(runs(results, name, target)[0]["experts"]) == both
            assert runs(results, name, target)[0]["models"] == len(both)
        assert runs(results, "union k=1", target)[0]["experts"] == union["experts"]
        assert runs(results, "economy-average", target)[0]["experts"] == union["experts"]
        assert set(runs(results, "economy-unweighted", target)[0]["experts"]["economy-unweighted"].values()) == {1.0}
    drawn = [set(one["experts"]["random"]) for one in runs(results, "random")]
    assert all(len(experts) == 1 for experts in drawn)


def test_a_baseline_is_scaled(results: dict[str, Any]) -> None:
    for target in results["targets"]:
        whole, same, half = (
            runs(results, arm, target)[0] for arm in ("unified", "unified lam=1.0", "unified lam=0.5")
        )
        assert same["strict"] == whole["strict"]
        assert half["experts"] == whole["experts"]


def test_unseen_types_are_scored_apart(results: dict[str, Any], made: Path) -> None:
    texts, pool = texts_of(made), ExpertPool(made / "pool")
    predicted = adapt(pool, texts.unlabelled, texts.types, experts=1, samples=2).predict([e.text for e in texts.test])
    of_type = score(texts.test, predicted, texts.types).per_type["disease"]
    unseen = runs(results, "union")[0]["unseen"]
    assert {key: unseen["strict"][key] for key in ("tp", "fp", "fn")} == {
        key: getattr(of_type, key) for key in ("tp", "fp", "fn")
    }
    assert results["targets"]["pharma"]["unseen"] == ["disease"]
    assert "unseen" not in runs(results, "union", "games")[0]  # nothing is known to be seen there


def test_the_oracle_is_the_best_of_its_subsets(results: dict[str, Any]) -> None:
    assert results["oracle"]["texts"] == 2
    for target in ("pharma", "games"):
        scores = results["oracle"]["subsets"]["best"][target]
        (chosen,) = runs(results, "best", target)[0]["experts"]
        assert set(scores) == {"medicine", "sports"}
        assert scores[chosen] == max(scores.values())
        assert set(results["oracle"]["subsets"]["oracle-k2"][target]) == {"medicine+sports"}


def test_what_is_said_of_a_target(results: dict[str, Any]) -> None:
    target = results["targets"]["pharma"]
    assert (target["texts"], target["unlabelled"], target["labels"]) == (4, 4, ["disease", "drug"])
    assert set(target["similarity"]) == set(target["sampling"]) == {"medicine", "sports"}
    assert results["groups"] == {"half": ["pharma"], "all": ["pharma", "games"]}
    assert results["settings"]["seeds"] == [0, 1, 2]
    assert 0 < results["settings"]["threshold"] < 1
    assert target["selection_seconds"] > 0
    assert results["published"] == [{"name": "GLiNER", "scores": {"pharma": 60.6}, "source": "a paper"}]


def test_complementarity_adds_up(results: dict[str, Any]) -> None:
    for target in ("pharma", "games"):
        found = results["complementarity"][target]
        gold, false = found["gold"], found["false"]
        for name in ("similarity", "sampling"):
            counts = runs(results, name, target)[0]["strict"]
            assert gold[name] + gold["both"] == counts["tp"]
            assert false[name] + false["both"] == counts["fp"]
        assert sum(gold.values()) == sum(runs(results, "base", target)[0]["strict"][key] for key in ("tp", "fn"))


def test_comparisons(results: dict[str, Any]) -> None:
    rows = results["comparisons"]
    assert {(row["a"], row["b"]) for row in rows} == {("union", "unified"), ("random", "all")}
    assert {row["target"] for row in rows} == {"pharma", "games", "half", "all"}
    assert {row["score"] for row in rows} == {"strict", "string"}
    for row in rows:
        names = results["groups"].get(row["target"], [row["target"]])
        means = [
            sum(one[row["score"]]["f1"] for one in runs(results, arm, name)) / len(runs(results, arm, name))
            for arm in (row["a"], row["b"])
            for name in names
        ]
        half = len(names)
        assert row["difference"] == pytest.approx(100 * (sum(means[:half]) - sum(means[half:])) / half)
        assert row["ci95"][0] <= row["ci95"][1] and 0 < row["p"] <= 1


def test_results_are_written_and_reported(folder: Path, results: dict[str, Any]) -> None:
    written = json.loads((folder / "out" / "results.json").read_text())
    assert written == json.loads(json.dumps(results))
    assert "relieves" not in (folder / "out" / "results.json").read_text()
    assert {"report.html", "report.md", "plots"} <= {path.name for path in (folder / "out").iterdir()}
    assert results["command"] == "samner benchmark"
    assert (folder / ".samner-benchmark" / KEPT).is_file()


def test_the_same_again_reads_nothing(folder: Path, results: dict[str, Any], asked: list[Any]) -> None:
    again = run(folder / "benchmark.yaml", folder / "again")
    assert asked == []
    for key in ("arms", "comparisons", "complementarity", "oracle", "targets"):
        assert again[key] == json.loads(json.dumps(results[key]))


def test_only_what_is_new_is_read(
    configure: Configure, folder: Path, tmp_path: Path, results: dict[str, Any], asked: list[Any]
) -> None:
    groups = {"main": {"arms": {"union": {}, "surer": {"mode": "base", "threshold": 0.6}}}}
    config = configure(tmp_path, groups=groups, comparisons=[["union", "surer"]])
    run(config, tmp_path / "out", work=folder / ".samner-benchmark")
    assert asked == [(4, "base"), (2, "base")]


def test_a_prefix_is_extended(configure: Configure, tmp_path: Path, asked: list[Any]) -> None:
    for texts, expected in ((1, [(1, "base")]), (3, [(2, "base")]), (2, [])):
        asked.clear()
        groups = {"main": {"texts": texts, "arms": {"base": {}}}}
        found = run(configure(tmp_path, groups=groups, comparisons=[]), tmp_path / "out", only=["pharma"])
        assert [call for call in asked if call[1] == "base"] == expected
        assert found["arms"][0]["targets"]["pharma"][0]["texts"] == texts


def test_what_is_read_survives_a_stop(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    config = configure(tmp_path, groups={"main": {"arms": {"base": {}}}}, comparisons=[])
    original = EncoderBackbone.predict

    def stop(self: Any, texts: Any, types: Any, models: Any, threshold: float, *rest: Any) -> Any:
        if any("scored" in text for text in texts) and models == ["base"]:
            raise KeyboardInterrupt
        return original(self, texts, types, models, threshold, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(EncoderBackbone, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()
    asked.clear()
    run(config, tmp_path / "out")
    assert asked == [(2, "base")]


def test_another_expert_is_read_anew(configure: Configure, made: Path, tmp_path: Path, asked: list[Any]) -> None:
    from safetensors.torch import load_file, save_file

    from samner.pool import ExpertCard

    shutil.copytree(made / "pool", tmp_path / "pool")
    groups = {"main": {"arms": {"base": {}, "experts": {}}}}
    config = configure(tmp_path, groups=groups, comparisons=[], pool=str(tmp_path / "pool"))
    run(config, tmp_path / "out", only=["games"])
    expert = tmp_path / "pool" / "experts" / "medicine"
    weights = load_file(expert / "adapter_model.safetensors")
    save_file({key: value * 2 for key, value in weights.items()}, expert / "adapter_model.safetensors")
    ExpertCard.read(expert).write(expert)
    asked.clear()
    run(config, tmp_path / "out", only=["games"])
    assert [call for call in asked if call[0] == 2 and call[1] == "medicine"]
    assert "base" not in {model for _, model in asked}


def test_several_pools_side_by_side(configure: Configure, made: Path, tmp_path: Path) -> None:
    groups = {"main": {"arms": {"base": {}, "union": {}}}}
    pools = {"one": str(made / "pool"), "two": str(made / "pool")}
    config = configure(tmp_path, groups=groups, comparisons=[], pool=pools)
    results = measure(read_benchmark(config), tmp_path / "out", into=tmp_path / "results.md")
    assert results["one"]["arms"] == results["two"]["arms"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one", "two", "report.md"}
    assert "| arm | one, strict | two, strict |" in (tmp_path / "out" / "report.md").read_text()
    assert "<!-- samner benchmark: begin -->" in (tmp_path / "results.md").read_text()


def test_parts(folder: Path, results: dict[str, Any], tmp_path: Path, asked: list[Any]) -> None:
    part = run(
        folder / "benchmark.yaml",
        tmp_path,
        work=folder / ".samner-benchmark",
        only=["games"],
        groups=["method"],
        arms=["union", "unified"],
    )
    assert [arm["name"] for arm in part["arms"]] == [
        *("unified", "union", "union method=linear", "union method=dare_ties"),
    ]
    assert list(part["targets"]) == ["games"]
    assert part["groups"] == {"all": ["games"]}
    assert {(row["a"], row["b"]) for row in part["comparisons"]} == {("union", "unified")}
    assert asked == []
    for options, message in (
        ({"only": ["x"]}, "has no target 'x'; it has: pharma, games"),
        ({"groups": ["x"]}, "has no group 'x'; it has: main, k, method, lam"),
        ({"arms": ["x"]}, "has no arm 'x'; it has: base, experts"),
    ):
        with pytest.raises(SamnerError, match=message):
            run(folder / "benchmark.yaml", tmp_path, **options)


def test_a_pool_without_a_baseline_is_measured_without_it(configure: Configure, made: Path, tmp_path: Path) -> None:
    pool = Path(shutil.copytree(made / "pool", tmp_path / "pool"))
    shutil.rmtree(pool / "baselines")
    config = configure(tmp_path, pool=str(pool))
    found = run(config, tmp_path / "out", only=["games"], arms=["base"])
    assert [arm["name"] for arm in found["arms"]] == ["base"]
    with pytest.raises(SamnerError, match="has no baseline 'unified'"):
        run(config, tmp_path / "out", only=["games"], arms=["unified"])


def test_bad_parts_are_named(configure: Configure, tmp_path: Path) -> None:
    without: dict[str, Any] = {"comparisons": [], "averages": {}, "published": {}}
    for changes, message in (
        ({"pool": "nowhere"}, r"benchmark\.yaml: pool: no pool at 'nowhere'"),
        ({"groups": {"a": {"arms": {"oracle": {"experts": 3}}}}}, "the arm 'oracle' asks for 3 of 2 experts"),
        (
            {"groups": {"a": {"arms": {"experts": {}, "sports": {"mode": "base"}}}}},
            "an expert is named 'sports' as another arm is",
        ),
        (
            {"targets": {"pharma": {"test": "pharma.jsonl", "unlabeled": "pharma.txt", "seen_types": ["x"]}}},
            r"targets\.pharma\.seen_types: 'x' does not occur in .*pharma\.jsonl",
        ),
    ):
        with pytest.raises(SamnerError, match=message):
            run(
                configure(tmp_path, **{**without, **changes}),
                tmp_path / "out",
            )
    (tmp_path / "file").write_text("")
    with pytest.raises(SamnerError, match="file: cannot be made"):
        run(configure(tmp_path), tmp_path / "file")
