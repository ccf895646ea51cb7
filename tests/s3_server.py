"""moto's S3, in a process of its own: what it keeps in memory is not ours."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

CREDENTIALS = {"key": "testing", "secret": "a-secret-of-the-tests"}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The URL of an S3 without buckets."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        yield next(found[0] for line in lines if (found := re.search(r"http://\S+:\d+", line)))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
