from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")


def test_what_cannot_be_served_is_said_before_anything_is_loaded(
    samner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b/a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text("{}")
    short, none = tmp_path / "short.txt", tmp_path / "none.txt"
    short.write_text("# mine\nsecret\n")
    none.write_text("\n")
    for arguments, message in (
        (["--model", tmp_path / "no"], "is no model that 'samner adapt' saved"),
        (["--model", tmp_path / "a", "--model", tmp_path / "b" / "a"], "two models are called 'a'"),
        (["--model", f"a b={tmp_path / 'a'}"], "'a b' cannot name a model"),
        (["--tokens", tmp_path / "missing"], "the tokens cannot be read"),
        (["--tokens", short], "token 1 must be 16 or more ASCII characters"),
        (["--tokens", none], "holds no token"),
        (["--host", "999.1.1.1", "--model", f"x={tmp_path / 'a'}"], "cannot serve on 999.1.1.1, port 8000"),
    ):
        result = samner("serve", *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert message in result.stderr and result.stderr.count("\n") == 1
    monkeypatch.setenv("SAMNER_TOKENS", " , ")
    assert "$SAMNER_TOKENS holds no token" in samner("serve").stderr


def test_what_has_to_be_installed_is_said(samner, monkeypatch: pytest.MonkeyPatch) -> None:
    import samner.cli.serve as serve

    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert "pip install 'samner[serve]'" in samner("serve").stderr
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "gradio" else serve)
    assert "pip install 'samner[page]'" in samner("serve", "--page").stderr
