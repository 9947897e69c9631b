"""Here the report is the real one, which the tests of the engine put a stand-in for."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from samner.evaluation.benchmark import report


@pytest.fixture(autouse=True, scope="module")
def reports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, report.__name__, report)
        yield
