"""How fast, how small and how exact merging is, beside the peers: `make bench-merge` (see docs/benchmarks.md)."""
