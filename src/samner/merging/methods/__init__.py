"""The merge methods, one file each. Whoever adds one adds its file's name here, which registers it."""

from __future__ import annotations

from samner.merging.methods import breadcrumbs, dare, della, knots, linear, ties

__all__ = ["breadcrumbs", "dare", "della", "knots", "linear", "ties"]
