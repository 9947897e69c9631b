from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from samner.backbones.language_model.generation.loose_json import Leaf, Node, Pairs, readings, unescape

strings = st.text() | st.text("\"'“”\\,:[]{}()/ \naé", max_size=8)
values = st.recursive(
    strings | st.lists(strings, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)


def plain(node: Node) -> Any:
    if isinstance(node, Leaf):
        assert node.quoted
        return node.text
    if isinstance(node, Pairs):
        return {key.text: plain(value) for key, value in node.items}
    return [plain(item) for item in node]


@given(st.lists(values, max_size=3) | st.dictionaries(strings, values, max_size=3), st.booleans(), st.booleans())
def test_sound_json_is_read_as_json(value, ascii_only: bool, indented: bool):
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=2 if indented else None)
    (reading,) = readings(raw)
    assert plain(reading.value) == value
    assert (reading.span, reading.notes, reading.cut) == ((0, len(raw)), (), False)


def test_one_after_the_other():
    found = list(readings('So [1], then {"a": ["b"]} and ["c'))
    assert [one.span for one in found] == [(3, 6), (13, 25), (30, 33)]
    assert [one.cut for one in found] == [False, False, True]


def test_unescape():
    assert unescape(r"\"\\\/\n\u00e9\ud83d\ude00 \' \d \u12 \\u0041") == "\"\\/\né😀 ' \\d \\u12 \\u0041"
