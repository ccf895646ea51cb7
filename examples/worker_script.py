"""A worker in a script of your own, with a pipeline of your own beside the built-in ones.

Run it:  pip install 'videojobs[postgres,video]'
         SUPABASE_DB_URL=... python worker_script.py
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from videojobs import VideoJobManager
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker


def main(storage_dir: str = "videojobs-output", *, until_idle: bool = False) -> None:
    """Run jobs until a signal comes, or until none is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with VideoJobManager.from_env() as manager:
        settings = manager.settings
        worker = Worker(
            manager,
            VideoProcessor(ffmpeg=settings.ffmpeg, work_dir=settings.work_dir),
            storage=LocalStorage(Path(storage_dir)),
            queues=["urgent", "default"],
        )
        worker.run(until_idle=until_idle)


if __name__ == "__main__":
    main(*sys.argv[1:2], until_idle="--until-idle" in sys.argv)
