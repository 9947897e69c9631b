"""What the documentation shows is there, and its examples run."""

from __future__ import annotations

import ast
import doctest
import inspect
import pkgutil
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import samner
from tests.public_surface import MODULES, public_names

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "samner"
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the examples are at home: two experts' folders, and a model that was adapted and saved."""
    folder = tmp_path_factory.mktemp("workplace")
    pool = samner.ExpertPool.load("builtin")
    for name, expert in (("news", "news"), ("medicine", "biomedical")):
        shutil.copytree(pool.expert_folder(expert), folder / name)
    samner.adapt(pool, ["Aspirin relieves headache."], ["drug", "disease"]).save(folder / "my-domain")
    return folder


def examples() -> Iterator[doctest.DocTest]:
    """Of all public names."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), {}
    for name in MODULES:
        module = import_module(name)
        values = [module, *(getattr(module, public) for public in public_names(module))]
        for value in values:
            if value is module or getattr(value, "__module__", "").startswith("samner"):
                home = import_module(value.__module__) if value is not module else module
                for example in finder.find(value, f"{home.__name__}.{getattr(value, '__name__', '')}", module=home):
                    if example.examples:
                        found[example.filename, example.lineno] = example
    yield from found.values()


def test_the_examples_of_the_reference_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    ran, said = 0, []
    for example in examples():
        assert not any(doctest.SKIP in one.options for one in example.examples), f"{example.name} is not run"
        ran += runner.run(example, out=said.append).attempted
    assert not said, "".join(said)
    assert ran > 10


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {"unlabelled": ["Aspirin relieves headache."]})


@pytest.mark.parametrize("page", ["docs/gliner.md", "docs/integrations.md"])
def test_the_python_of_a_page_about_a_saved_model_runs(
    page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    given: dict[str, object] = {"unlabelled": ["Aspirin relieves headache."]}
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block.replace('save("my-domain")', 'save("another")'), page, "exec"), given)
    if page == "docs/integrations.md":
        document = SimpleNamespace(page_content="Aspirin helps.", content="Aspirin helps.", metadata={}, meta={})
        assert given["with_entities"](document).metadata["entities"][0]["text"] == "Aspirin"  # type: ignore[operator]
        extractor = given["SamnerExtractor"]("my-domain")  # type: ignore[operator]
        assert extractor.run([document])["documents"][0].meta == document.metadata


def test_what_a_user_of_gliner_writes_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    page = (ROOT / "docs" / "gliner.md").read_text("utf-8")
    calls = re.findall(r"^\|[^|]*\| `([^`]*)` \|$", page, re.M)
    assert len(calls) > 12
    text, labels = "Aspirin relieves headache.", ["drug", "disease"]
    known = {"TaskModel": samner.TaskModel, "text": text, "labels": labels, "texts": [text, text]}
    known["model"] = samner.TaskModel.load("my-domain")
    answers = {call: eval(call, known) for call in calls}
    found = answers["model.predict_entities(text, labels)"]
    assert found[0] == {**found[0], "start": 0, "end": 7, "label": "drug", "text": "Aspirin"}
    assert answers["model.inference(texts, labels, batch_size=64)"] == [found, found]
    assert answers["model.batch_predict_entities(texts, labels)"] == [found, found]
    assert answers["model.predict([text])[0][0].text"] == "Aspirin"
    assert answers['model.to("auto")'] is known["model"]
    [first, second] = answers['model.inference(texts, [["drug"], ["disease", "drug"]])']
    assert {entity["label"] for entity in first} == {"drug"} and second == found


def test_the_reference_holds_every_public_module() -> None:
    named = {name for page in REFERENCE for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)}
    assert named == set(MODULES)


def test_every_public_name_is_described() -> None:
    bare = [
        f"{name}.{public}"
        for name in MODULES
        for public in public_names(import_module(name))
        if not (inspect.getdoc(value := getattr(import_module(name), public)) or not _is_defined(value))
    ]
    assert bare == []


@pytest.mark.parametrize("init", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_every_room_says_what_it_is_for(init: Path) -> None:
    said = ast.get_docstring(ast.parse(init.read_text("utf-8")))
    assert said and len(said.split()) >= 5


def test_the_architecture_names_what_there_is() -> None:
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)(?:\(\))?`", ARCHITECTURE)
    names = [name for name in names if not _is_file(name) and not name.startswith("samner.")]  # groups of entry points
    assert len(names) > 20
    missing = [name for name in names if not _exists(name)]
    assert missing == []


def test_the_tree_of_the_architecture_is_the_one_there_is() -> None:
    [tree] = re.findall(r"^```text\nsrc/samner/\n(.*?)^```", ARCHITECTURE, re.M | re.S)
    places, above = [], [SOURCE]
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        entries = re.split(r"\s{2,}", line.strip())[0].split()
        above[depth:] = [above[depth - 1] / entries[0] if depth > 1 else SOURCE / entries[0]]
        places += [(SOURCE if depth == 1 else above[depth - 1]) / entry for entry in entries]
    missing = [p for p in places if not (p.is_dir() or p.with_suffix(".py").is_file())]
    assert [str(path.relative_to(SOURCE)) for path in missing] == []
    rooms = {module.name for module in pkgutil.iter_modules([str(SOURCE)]) if module.ispkg}
    assert rooms - {path.name for path in places if path.parent == SOURCE} == set()


def _is_file(name: str) -> bool:
    return name.rsplit(".", 1)[1] in ("json", "jsonl", "md", "py", "safetensors", "toml", "txt", "yaml", "yml")


def _is_defined(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def _exists(name: str) -> bool:
    """Whether a dotted name below samner is a module, or something in one."""
    value, parts = samner, name.split(".")
    for i, part in enumerate(parts):
        try:
            value = import_module("samner." + ".".join(parts[: i + 1]))
        except ModuleNotFoundError:
            value = getattr(value, part, None)
            if value is None:
                return False
    return True
