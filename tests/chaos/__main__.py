"""``python -m chaos``, in the folder ``tests``: a run of any length, with its story printed."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from pathlib import Path

from chaos.run import run
from parts import find_parts


def main() -> int:
    """1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long faults begin")
    parser.add_argument("--keep", type=Path, default=None, help="copy the logs there")
    parser.add_argument("--seed", type=int, default=None, help="of the faults; any if not given")
    arguments = parser.parse_args()
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    logging.disable(logging.WARNING)  # failures are what this is about
    begun = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f}  {line}", flush=True)

    report = run(find_parts(), seconds=arguments.seconds, seed=seed, tell=tell, keep=arguments.keep)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
