"""Every plot of a report, each from the results alone, and none if its arms were not measured."""

from __future__ import annotations
