"""`make bench`: run the measurements and print them as JSON (a file with --out) and as a table."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from tests.bench import send


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"note: the machine's load is {load:.1f}; figures taken now say little")
    results = [
        send.measure(given.messages, latency_ms=0, is_limited=False),
        send.measure(given.messages, latency_ms=0, is_limited=True),
    ]
    for result in results:
        print(f"\nsend, limits {result['limits']}")
        for name, value in result.items():
            print(f"  {name:24} {value}")
    text = json.dumps({"load": load, "results": results}, indent=2)
    if given.out is not None:
        given.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
