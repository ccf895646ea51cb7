"""A worker in a script of your own, with queues in the order that you like.

Run it:  pip install 'videojobs[postgres,video]'
         SUPABASE_DB_URL=... python worker_script.py videos --until-idle
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from videojobs import VideoJobManager
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker


def main(storage_dir: Path, *, until_idle: bool) -> None:
    """Run jobs until a signal comes, or until nothing is left to claim."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with VideoJobManager.from_env() as manager:
        settings = manager.settings
        worker = Worker(
            manager,
            VideoProcessor(ffmpeg=settings.ffmpeg, work_dir=settings.work_dir),
            storage=LocalStorage(storage_dir),
            queues=["urgent", "default"],
        )
        worker.run(until_idle=until_idle)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run video jobs.")
    parser.add_argument("storage_dir", type=Path, nargs="?", default=Path("videojobs-output"))
    parser.add_argument(
        "--until-idle", action="store_true", help="end when nothing is left to claim"
    )
    given = parser.parse_args()
    main(given.storage_dir, until_idle=given.until_idle)
