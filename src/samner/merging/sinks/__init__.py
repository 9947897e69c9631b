"""Where merged task vectors go: an adapter, a fused base model, or a file of their own."""

from __future__ import annotations
