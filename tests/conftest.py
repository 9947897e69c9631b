"""What every test shares: no network, repeatable hypothesis runs, and where the data sets are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers or huggingface_hub, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled data sets beside the repository; the test is skipped where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "train").is_dir():
        pytest.skip("the data sets are not there (expected in ../shared/data beside the repository)")
    return folder
