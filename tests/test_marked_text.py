from __future__ import annotations

import html
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from samner.display import printable
from samner.entities import Entity, Example
from samner.marked_text import fragment, hues, page
from samner.prediction import Prediction

TEXT = "In New York University Hospital & Co."


class Read(HTMLParser):
    """The text that is shown, without names of labels; and what each mark holds."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.shown, self.small, self.open, self.balanced = "", False, 0, True
        self.feed(source[source.index('<div class="samner">') :])

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.small = self.small or tag == "small"
        self.open += tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        self.small = self.small and tag != "small"
        self.open -= tag == "mark"
        self.balanced = self.balanced and self.open >= 0

    def handle_data(self, data: str) -> None:
        self.shown += "" if self.small else data


def test_entities_are_marked_within_one_another_and_across() -> None:
    found = [Entity(3, 11, "city", 0.9, ("similarity",)), Entity(3, 22, "university"), Entity(7, 31, "hospital", 0.5)]
    source = fragment(TEXT, found)
    assert source.count("<small>") == 3 and Read(source).shown.strip() == TEXT
    assert 'title="city, score 0.9000, found by similarity"' in source
    assert "city 0.90</small>" in source and "university</small>" in source
    assert source.count("<mark") == source.count("</mark>") == 5  # what crosses is closed and opened again


@given(
    st.text(min_size=9, max_size=12),
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), st.sampled_from(["a", "b<b>"])), max_size=6),
)
def test_the_text_is_shown_as_it_is(text: str, spans: list[tuple[int, int, str]]) -> None:
    found = {Entity(start, min(start + length, len(text)), label, 0.5) for start, length, label in spans}
    source = fragment(text, list(found))
    read = Read(source)
    assert read.balanced and read.open == 0
    shown = html.unescape(html.escape(printable(text)))
    assert read.shown in (shown, f"{shown}\n")
    assert source.count("<small>") == len(found)


def test_whatever_a_text_holds_is_text() -> None:
    script = "<script>alert(1)</script>"
    examples = [Example(script, (Entity(0, 8, script, 0.5),)), Example("  two\n lines ")]
    source = "".join(page(examples, [script], title=script))
    assert "<script" not in source and source.count("&lt;script&gt;") >= 4
    assert "  two\n lines " in source


def test_a_page_asks_nothing_of_elsewhere() -> None:
    source = "".join(page([Example(TEXT)], ["city"], "A title"))
    assert not re.search(r"https?:|src=|href=|url\(|@import", source)
    assert "default-src 'none'" in source and "prefers-color-scheme: dark" in source


def test_each_label_has_its_own_colour() -> None:
    names = [f"label {i}" for i in range(24)]
    assert len(set(hues(names).values())) == 24
    assert len(hues([*names, "one more"])) == 25
    assert hues(["city"])["city"] == hues(["river", "city"])["city"]


def test_a_notebook_shows_a_prediction() -> None:
    prediction = Prediction("Aspirin helps.", [Entity(0, 7, "drug", 0.9)])
    assert '">Aspirin<small>drug 0.90</small></mark> helps.' in prediction._repr_html_()
    assert prediction == [Entity(0, 7, "drug", 0.9)] and prediction[0].text == "Aspirin"
