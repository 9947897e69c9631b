"""Makes ``dense_reference``, which several files of this folder use, importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
