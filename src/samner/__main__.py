"""``python -m samner``."""

from __future__ import annotations

from samner.cli import main

main()
