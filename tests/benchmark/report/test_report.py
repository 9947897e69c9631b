"""The whole report: two documents and their plots, from the results alone."""

from __future__ import annotations

import copy
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from samner.benchmark.report import write_report
from samner.errors import SamnerError
from tests.benchmark.report.made_up import TARGETS, made_up

FEW = {name: TARGETS[name] for name in ("crossner_ai", "mit_restaurant", "stackoverflow")}
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Tags that match, ids, links and headings of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.headings: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named[key] for key in ("href", "xlink:href", "src") if key in named]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def only(results: dict[str, Any], keep: Any, **changes: Any) -> dict[str, Any]:
    return results | {"arms": [arm for arm in results["arms"] if keep(arm)]} | changes


def bare(results: dict[str, Any], *names: str) -> dict[str, Any]:
    """Of these arms alone, with nothing that is optional."""
    kept = only(results, lambda arm: arm["name"] in names)
    return {
        key: value
        for key, value in kept.items()
        if key not in ("comparisons", "complementarity", "published", "oracle")
    }


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return made_up(targets=FEW)


@pytest.fixture(scope="module")
def folder(results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    before = dict(mpl.rcParams)
    untouched = copy.deepcopy(results)
    write_report(results, folder)
    assert dict(mpl.rcParams) | {"backend": before["backend"]} == before
    assert results == untouched
    return folder


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert len(text.encode()) < 1_500_000
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_every_colour_of_a_plot_in_the_page_changes_with_the_theme(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    plots = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    used = set(re.findall(r"(?:fill|stroke|stop-color): ?(#[0-9a-f]{3,6})", plots))
    assert used <= {"#000000"}
    variables = set(re.findall(r"var\((--c[0-9a-f]{6})\)", plots))
    assert set(re.findall(r"var\((--\w+)\)", text)) <= set(re.findall(r"(--\w+):", text))
    light, dark = re.findall(r":root \{ (--c1b1f24.*?) \}", text)
    assert all(f"{name}:" in light and f"{name}:" in dark for name in variables)


def test_a_section_for_everything_that_was_measured(folder: Path) -> None:
    page = Page((folder / "report.html").read_text())
    assert page.headings == [
        "Goals", "Where the points are", "Scores", "Paired comparisons", "Published figures", "Selection",
        "Combining the two strategies", "Number of experts", "Sample size", "Merging", "Text encoder",
        "Beyond the paper", "Cost", "Method",
    ]  # fmt: skip
    plots = {path.stem for path in (folder / "plots").iterdir()}
    assert plots == {
        "domains", "differences", "experts", "combining", "complementarity", "precision-recall", "k", "samples",
        "method-union", "scope-union", "parameters", "encoder-similarity", "beyond",
    }  # fmt: skip


def test_markdown_holds_the_same_headings_tables_and_plots(folder: Path) -> None:
    text, page = (folder / "report.md").read_text(), Page((folder / "report.html").read_text())
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == page.headings
    linked = re.findall(r"^!\[.+\]\((plots/.+\.svg)\)$", text, flags=re.MULTILINE)
    assert sorted(linked) == sorted(f"plots/{path.name}" for path in (folder / "plots").iterdir())
    widths = [
        [line.count(" | ") for line in table.splitlines()] for table in re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    ]
    assert len(widths) == (folder / "report.html").read_text().count("<table>")
    assert all(len(set(width)) == 1 for width in widths)


def test_a_plot_in_a_file_is_whole_and_light(folder: Path) -> None:
    for path in (folder / "plots").iterdir():
        text = path.read_text()
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "var(" not in text and "<metadata>" not in text and "DejaVu" not in text


def test_the_same_results_give_the_same_files(results: dict[str, Any], tmp_path: Path) -> None:
    small = only(results, lambda arm: arm["group"] == "main" and arm["name"] in ("base", "unified", "union"))
    for name in ("one", "two"):
        write_report(small, tmp_path / name)
    files = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one").rglob("*") if p.is_file()}
    assert {p: (tmp_path / "two" / p).read_bytes() for p in files} == files


@pytest.mark.parametrize("names", [["base"], ["union k=1", "union k=2"], ["union method=ties", "union method=knots"]])
def test_what_was_not_measured_is_left_out(results: dict[str, Any], tmp_path: Path, names: list[str]) -> None:
    write_report(bare(results, *names), tmp_path)
    headings = Page((tmp_path / "report.html").read_text()).headings
    own = {"base": ["Scores"], "union k=1": ["Number of experts"], "union method=ties": ["Merging"]}[names[0]]
    assert set(headings) - {"Cost"} == {*own, "Selection", "Method"}


def test_names_are_text_whatever_is_in_them(results: dict[str, Any], tmp_path: Path) -> None:
    wicked = copy.deepcopy(bare(results, "base", "union"))
    title = "<script>alert('$x_1$')</script> | `a` & *b*"
    wicked["arms"][1]["title"] = title
    wicked["command"] = title
    write_report(wicked, tmp_path)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "script" not in Page(page).tags
    assert "&lt;script&gt;alert(&#39;$x_1$&#39;)&lt;/script&gt; | `a` &amp; *b*" in page
    assert r"&lt;script>alert('$x_1$')&lt;/script> \| \`a\` &amp; \*b\*" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"targets": {}}, "no targets"),
        ({"arms": []}, "no arms"),
        ({"arms": None}, "no arms"),
    ],
)
def test_other_results_are_refused(
    results: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SamnerError, match=message):
        write_report(results | changes, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_missing_parts_are_named(results: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SamnerError, match="lack 'pool'"):
        write_report({key: value for key, value in results.items() if key != "pool"}, tmp_path)
    damaged = copy.deepcopy(bare(results, "base"))
    del damaged["arms"][0]["targets"]["mit_restaurant"]
    with pytest.raises(SamnerError, match="'base' on mit_restaurant"):
        write_report(damaged, tmp_path)


def test_a_missing_library_is_named(results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("samner.benchmark.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SamnerError, match=r"samner\[benchmark\]"):
        write_report(results, tmp_path)
