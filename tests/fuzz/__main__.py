"""Damages small videos in many ways, and sees that each ends with files or with a code.

``python -m fuzz --count 2000 --seed 1``; ``--only 137`` repeats one and keeps its file.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fuzz.mutations import damaged
from fuzz.originals import originals
from fuzz.trial import DOUBTFUL_CODES, Outcome, try_file
from videojobs.media.launching import isolation

Trial = tuple[int, str, Outcome]


def run_one(seed: int, sources: tuple[Path, ...], root: Path) -> Trial:
    """The trial of this seed, whose number alone tells the original and the damage."""
    original = sources[seed % len(sources)]
    data, what = damaged(original.read_bytes(), seed)
    folder = root / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    path = root / f"{seed}-{original.name}"
    path.write_bytes(data)
    outcome = try_file(path, folder)
    path.unlink()
    return seed, f"{original.name} {what}", outcome


def _run_given(given: tuple[int, tuple[Path, ...], Path]) -> Trial:
    return run_one(*given)


def _tell(trials: list[Trial], seconds: float) -> int:
    codes = collections.Counter(outcome.code or "(files)" for _, _, outcome in trials)
    for code, count in codes.most_common():
        print(f"{count:6}  {code}")
    for seed, what, outcome in trials:
        if outcome.fault or outcome.code in DOUBTFUL_CODES:
            kind = "FAULT" if outcome.fault else "doubtful"
            print(f"{kind}: seed {seed}: {what}: {outcome.fault or outcome.message[:200]}")
    slowest = max(trials, key=lambda trial: trial[2].seconds)
    print(
        f"{len(trials)} files in {seconds:.0f} s; the slowest took {slowest[2].seconds} s "
        f"(seed {slowest[0]}); at most {max(trial[2].peak_bytes for trial in trials) >> 20} MB"
    )
    return sum(1 for trial in trials if trial[2].fault)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one seed; its file is kept")
    wishes = parser.parse_args()
    print(f"closed off by {isolation()}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder)
        sources = originals(root / "originals")
        if wishes.only is not None:
            source = sources[wishes.only % len(sources)]
            kept = Path(f"fuzz-{wishes.only}-{source.name}")
            kept.write_bytes(damaged(source.read_bytes(), wishes.only)[0])
            print(kept, run_one(wishes.only, sources, root))
            return 0
        started_at = time.monotonic()
        seeds = range(wishes.seed, wishes.seed + wishes.count)
        print(f"seeds {seeds[0]} to {seeds[-1]}")
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            given = ((seed, sources, root) for seed in seeds)
            trials = list(pool.map(_run_given, given, chunksize=4))
        faults = _tell(trials, time.monotonic() - started_at)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(_main())
