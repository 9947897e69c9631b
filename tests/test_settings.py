from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from samner.errors import SamnerError
from samner.settings import Settings, plain_value, read_yaml_settings


class Sizes(Settings):
    width: float
    names: tuple[str, ...] = ()
    others: Mapping[str, bool | int | float | str] = {}
    pool: str | dict[str, str] = ""


def read(folder: Path, text: str) -> Sizes:
    (folder / "sizes.yaml").write_text(text, encoding="utf-8")
    return read_yaml_settings(folder / "sizes.yaml", Sizes)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "1.e-3", ".1e-2", "+1e-3"])
def test_numbers_with_an_exponent_are_numbers(tmp_path: Path, text: str):
    assert read(tmp_path, f"width: {text}").width == 0.001


def test_plain_values():
    assert [plain_value(text, "x") for text in ("2", "1e3", "true", "null", "on time", "[1, a]", "1e", "e3")] == [
        *(2, 1000.0, True, None, "on time", [1, "a"], "1e", "e3")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "width: &a 1\n",
            r"sizes.yaml:1: not valid YAML \(anchors \(&\) and aliases \(\*\) are not read",
        ),
        ("width: 1\nnames: *a\n", "sizes.yaml:2: not valid YAML"),
        ("width: 1\n? [a]\n: 1\n", "sizes.yaml:2: not valid YAML"),
        ("width: 2026-13-45\n", "sizes.yaml: not valid YAML"),
        (f"width: {'[' * 5000}", "sizes.yaml: is nested too deeply"),
        (f"width: {'9' * 5000}", "sizes.yaml: not valid YAML"),
        (f"width: 0x{'f' * 5000}", "sizes.yaml:1: not valid YAML .a number of too many digits"),
        (f"width: {'59:' * 3000}59", "sizes.yaml:1: not valid YAML .a number of too many digits"),
        (f"width: !{'x' * 9000} 1", "sizes.yaml:1: not valid YAML .could not determine a constructor"),
        (f"{'x' * 900}: 1\n" * 2, "sizes.yaml:2: not valid YAML .the key 'xxx"),
        ("width: 1\n" + "#" * 600_000, "sizes.yaml: is larger than 500,000 bytes"),
        ("width: 1\n1: a\n", "sizes.yaml: the key 1 must be a string"),
        (
            "width: 1\nothers: {a: 1, b: null}",
            r"sizes.yaml: others\.b: input should be one of bool, int, float, str, not None",
        ),
        ("width: 1\npool: 3", r"sizes.yaml: pool: input should be one of str, dict\[str,str\], not 3"),
        ("width: 1\npool: {a: 3}", r"sizes.yaml: pool: input should be one of str, dict\[str,str\], not {'a': 3}"),
        ("width: null\nnames: null", "sizes.yaml: width: input should be a valid number, not None"),
        ("width: 1\nwidth: 2\n", "sizes.yaml:2: not valid YAML .the key 'width' is given twice"),
        ("width: !!python/name:os.system\n", "sizes.yaml:1: not valid YAML"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(SamnerError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_lists_of_lists_of_lists_cost_nothing(tmp_path: Path):
    """Billion laughs: nine to the power of eleven items once written out."""
    lines = [f"- &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]" for i in range(11)]
    started = time.process_time()
    with pytest.raises(SamnerError, match="sizes.yaml:2: not valid YAML"):
        read(tmp_path, "names:\n" + "\n".join(lines))
    assert time.process_time() - started < 5
