from __future__ import annotations

import json
import subprocess
import sys

import pytest

from performance import extraction, gliner_peer


def test_a_rate_is_that_of_the_best_round() -> None:
    runs = [{"seconds": {"5": 0.5}}, {"seconds": {"5": 0.25}}]
    assert extraction.rate(runs, 5) == 4
    assert extraction.rate(runs, 500) == 0


def test_a_process_that_fails_is_told_with_its_last_line() -> None:
    with pytest.raises(SystemExit, match="ValueError: no such thing"):
        extraction.answer([sys.executable, "-c", "raise ValueError('no such thing')"], {})
    assert extraction.answer([sys.executable, "-c", "print(1); print([2])"], {}) == [2]


def test_the_peer_has_an_encoder_of_the_pool_s_shape_and_needs_no_samner() -> None:
    from samner.embedding import sentence_encoder

    config = sentence_encoder().transformer.config
    assert all(getattr(config, name, value) == value for name, value in gliner_peer.ENCODERS["minilm"].items())
    folder = str(extraction.ROOT / "performance")
    code = f"import sys, json; sys.path.insert(0, {folder!r}); import gliner_peer; "
    code += "print(json.dumps([name for name in sys.modules if name.startswith(('samner', 'torch'))]))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        extraction.main(["no-such"])
    assert "unknown part 'no-such'; there are models, smollm2, peers, length" in capsys.readouterr().err
