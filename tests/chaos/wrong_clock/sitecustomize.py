"""Lets Python sleep under libfaketime, whose own sleep refuses absolute monotonic times.

Without this, `time.sleep` of Python 3.11 and later raises EINVAL where only the wall clock is
faked (https://github.com/wolfcw/libfaketime/issues/426, in Debian's 0.9.10).
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
