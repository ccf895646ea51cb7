"""``make bench``: every figure of the project, in one run on one machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from benchmarks import bulk, calls, video
from videojobs.local import LocalStack

PARTS = Path(os.environ.get("VIDEOJOBS_PARTS") or Path(__file__).parents[1] / ".parts")


def main() -> None:
    """Print a line for each figure."""
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    with LocalStack.start(rest=True, durable=True, postgrest=PARTS / "node_modules") as stack:
        for comparison in (*calls.over_postgrest(stack), *calls.over_psycopg(stack)):
            print(comparison.line(), flush=True)
        for line in bulk.create_many(stack):
            print(line, flush=True)
        for line in video.worker_against_ffmpeg(stack):
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
