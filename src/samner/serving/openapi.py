"""``docs/openapi.json``: the API as OpenAPI tells it, for who reads it or makes clients from it.

python -m samner.serving.openapi docs/openapi.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from samner.files import atomic_file
from samner.serving.app import create_app
from samner.serving.catalog import Catalog


def description() -> str:
    """The description of the API, which does not depend on what is served."""
    return json.dumps(create_app(Catalog()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    with atomic_file(Path(sys.argv[1])) as temporary:
        temporary.write_text(description(), encoding="utf-8")
