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

from samner.benchmark.report import write_comparison, write_report, write_section
from samner.errors import SamnerError
from tests.benchmark.report.small import arm, full, small

VOID = {"meta", "br", "hr"}


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, results = tmp_path_factory.mktemp("report"), full()
    before, untouched = dict(mpl.rcParams), copy.deepcopy(results)
    write_report(results, folder)
    assert dict(mpl.rcParams) | {"backend": before["backend"]} == before
    assert results == untouched
    return folder


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_both_documents_say_the_same(folder: Path) -> None:
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    headings = ["Scores", "Paired comparisons", "Published figures", "Selection"]
    headings += ["Ablation: k", "Ablation: method", "Ablation: beyond", "Cost", "Method"]
    assert Page(page).headings == headings
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == headings
    pictures = re.findall(r"\(plots/(.*?\.svg)\)", text)
    assert pictures == ["targets.svg", "experts.svg", "k.svg", "method-union.svg", "beyond.svg"]
    assert {path.name for path in (folder / "plots").iterdir()} == set(pictures)
    for path in (folder / "plots").iterdir():
        ElementTree.parse(path)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.count("|") >= 3 for row in rows)


def test_the_same_results_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_report(full(), tmp_path)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert {path: (tmp_path / path).read_bytes() for path in files} == {p: (folder / p).read_bytes() for p in files}


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    write_report(small(arm("base", 20, 30)), tmp_path)
    headings = Page((tmp_path / "report.html").read_text()).headings
    assert headings == ["Scores", "Selection", "Cost", "Method"]


def test_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    title = "<script>alert('$x_1$')</script> | `a` & *b*"
    wicked = small(arm("base", 20, 30) | {"title": title}, arm("union", 20, 30), command=title)
    write_report(wicked, tmp_path)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "script" not in Page(page).tags
    assert "&lt;script&gt;alert(&#39;$x_1$&#39;)&lt;/script&gt; | `a` &amp; *b*" in page
    assert r"&lt;script>alert('$x_1$')&lt;/script> \| \`a\` &amp; \*b\*" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format 1"),
        ({"targets": {}}, "no targets"),
        ({"arms": []}, "no arms"),
        ({"pool": None}, "no pool"),
    ],
)
def test_other_results_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SamnerError, match=message):
        write_report(full() | changes, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    damaged = full()
    del damaged["arms"][0]["targets"]["b"]
    with pytest.raises(SamnerError, match="'base' on b"):
        write_report(damaged, tmp_path)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "samner.benchmark.report.plots", raising=False)
    monkeypatch.delattr("samner.benchmark.report.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SamnerError, match=r"samner\[benchmark\]"):
        write_report(full(), tmp_path)


def test_a_part_of_a_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    write_section(path, {"builtin": full()})
    made = path.read_text()
    assert made.startswith("# Results\n\n<!-- samner benchmark: begin -->\n\n### Strict span F1")
    begin, end = "<!-- samner benchmark: begin -->", "<!-- samner benchmark: end -->"
    path.write_bytes(f"# Mine\r\n\r\n{begin}\r\nbygone\r\n{end}\r\nAfter.\r\n".encode())
    write_section(path, {"builtin": full()})
    text = path.read_bytes().decode()
    assert text.startswith("# Mine\r\n") and text.endswith(f"{end}\r\nAfter.\r\n") and "bygone" not in text
    assert made.split(begin)[1].split(end)[0].strip() == text.split(begin)[1].split(end)[0].strip()
    for broken in ("no markers", f"{end}{begin}", f"{begin}{begin}{end}"):
        path.write_text(broken)
        with pytest.raises(SamnerError, match="must hold the lines"):
            write_section(path, {"builtin": full()})
        assert path.read_text() == broken


def test_pools_are_compared_by_the_arms_they_share(tmp_path: Path) -> None:
    one, two = small(arm("base", 20, 30), arm("union", 30, 40)), small(arm("union", 32, 40), arm("base", 1, 1))
    two["arms"] = two["arms"][:1]
    write_comparison({"one": one, "two": two}, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| union | 35.0<br>[33.6, 36.4] | 36.0<br>[34.6, 37.4] | 36.0" in text
    assert "| base" not in text
