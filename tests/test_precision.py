"""Number formats: what the processor can, or what the environment asks for."""

from __future__ import annotations

import pytest
import torch

from samner.errors import SamnerError
from samner.precision import fastest_dtype, precision


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ({"avx512_bf16": True, "avx512_vnni": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "avx512_vnni": True}, "int8"),
        ({"avx_vnni": True}, "int8"),
        ({"avx2": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_it_is_what_the_processor_has_instructions_for(
    instructions: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAMNER_PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert precision() == expected
    assert fastest_dtype() is (torch.bfloat16 if expected == "bfloat16" else torch.float32)


@pytest.mark.parametrize(("bfloat16", "rest"), [(True, torch.bfloat16), (False, torch.float32)])
def test_what_is_not_in_eight_bits_is_in_bfloat16_where_the_processor_has_that(
    bfloat16: bool, rest: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bfloat16}, raising=False)
    monkeypatch.setenv("SAMNER_PRECISION", "int8")
    assert precision() == "int8"
    assert fastest_dtype() is rest


def test_without_products_in_eight_bits_there_is_no_such_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True}, raising=False)
    monkeypatch.delenv("SAMNER_PRECISION", raising=False)
    assert precision() == "float32"
    monkeypatch.setenv("SAMNER_PRECISION", "int8")
    with pytest.raises(SamnerError, match="on cpu it must be float32, bfloat16, not 'int8'"):
        precision()


def test_other_devices_compute_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMNER_PRECISION", raising=False)
    assert precision("meta") == "float32"


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMNER_PRECISION", "float32")
    assert precision() == "float32"
    monkeypatch.setenv("SAMNER_PRECISION", "int4")
    with pytest.raises(SamnerError, match="SAMNER_PRECISION: on cpu it must be float32, bfloat16, int8, not 'int4'"):
        precision()
    monkeypatch.setenv("SAMNER_PRECISION", "int8")
    with pytest.raises(SamnerError, match="on meta it must be float32, bfloat16, not 'int8'"):
        precision("meta")
