"""What makes plots readable: labels apart, colours with twins, ids that do not clash."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.benchmark.report.plots import style

NUMBERS = st.lists(st.floats(-1e3, 1e3), max_size=12)


@given(NUMBERS, st.floats(0.1, 50))
def test_places_are_apart_and_in_order(wanted: list[float], gap: float) -> None:
    places = style.apart(wanted, gap)
    ordered = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for one, two in itertools.pairwise(ordered):
        assert places[two] - places[one] >= gap * (1 - 1e-6)


@given(NUMBERS, st.floats(0.1, 50))
def test_places_that_are_apart_already_stay(wanted: list[float], gap: float) -> None:
    spread = [i * 2 * gap for i in range(len(wanted))]
    assert style.apart(spread, gap) == pytest.approx(spread)


def test_a_crowd_keeps_its_middle() -> None:
    assert style.apart([5, 5, 5], 1) == pytest.approx([4, 5, 6])


@pytest.mark.parametrize(
    ("name", "lines"), [("news", "news"), ("mit_movie", "mit\nmovie"), ("wet_lab_protocols", "wet lab\nprotocols")]
)
def test_two_lines(name: str, lines: str) -> None:
    assert style.two_lines(name) == lines


def contrast(one: str, two: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(dark: bool) -> None:
    def shown(colour: str) -> str:
        return style.TWINS[colour] if dark else colour

    for colour in (style.INK, style.MUTED, style.BLUE, style.ORANGE, style.GREEN, style.PINK):
        assert contrast(shown(colour), shown(style.PAPER)) >= 4.5
    for cell, text in zip(style.RAMP, style.RAMP_INK, strict=True):
        assert contrast(shown(cell), shown(text)) >= 4.5


def test_every_light_colour_is_one_of_its_own() -> None:
    assert len(style.TWINS) == 10 + len(style.RAMP) + len(style.RAMP_INK)
    assert set(style.COLOURS.values()) <= style.TWINS.keys()


def test_ids_and_references_are_prefixed() -> None:
    text = '<?xml version="1.0"?>\n<svg width="1"><g id="p"/><use xlink:href="#p"/><g clip-path="url(#p)"/></svg>'
    inside = style.inline(text, "k", "a curve")
    assert inside == (
        '<svg role="img" aria-label="a curve" width="1"><g id="k-p"/><use xlink:href="#k-p"/>'
        '<g clip-path="url(#k-p)"/></svg>'
    )
