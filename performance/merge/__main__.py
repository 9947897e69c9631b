"""Measure merging and write the tables into docs/benchmarks.md, which says what they mean.

python -m performance.merge                  # everything but PEFT's SVD of a whole layer
python -m performance.merge engine knots     # some parts
python -m performance.merge --quick          # small, to try; only prints
python -m performance.merge peers --full     # PEFT's SVD of a whole layer too: hours
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from performance.merge import engine, growth, knots, peers, report
from performance.merge.bench import Bench
from performance.merge.measure import ROOT
from samner.cli.output import guarded

PARTS = {
    "engine": engine.part,
    "largest": engine.largest,
    "peers": peers.part,
    "growth": growth.part,
    "knots": knots.part,
}
DOCUMENT = ROOT / "docs" / "benchmarks.md"


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m performance.merge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small widths, few layers; writes nothing")
    parser.add_argument("--full", action="store_true", help="PEFT's exact SVD of a whole layer too: hours")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    failures = measure(arguments.parts or list(PARTS), quick=arguments.quick, full=arguments.full)
    if failures:
        sys.exit("\n".join(["These failed; the tables lack them:", *failures]))


def measure(names: list[str], *, quick: bool, full: bool) -> list[str]:
    """Run parts, print and write each as it is done; what failed is the answer."""
    failures = []
    if not quick:
        for name in names:
            report.check(DOCUMENT, name)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="samner-bench-") as folder:
            bench = Bench(Path(folder), quick, full)
            text = f"{report.machine()}\n\n{PARTS[name](bench)}"
        print(f"\n{name}\n\n{text}\n", flush=True)
        if not quick:
            report.write(DOCUMENT, name, text)
        failures += bench.failures
    return failures


if __name__ == "__main__":
    main()
