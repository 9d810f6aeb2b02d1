"""Runs something again whenever a file is saved."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

PAUSE = 0.3  # seconds between two looks


def saves(
    path: str | os.PathLike[str], sleep: Callable[[float], None] = time.sleep
) -> Iterator[int]:
    """Yield a count at once, and again after every save of the file.

    Editors save by writing a new file in the place of the old one, so a short absence is no error.
    """
    seen: tuple[int, int, int] | None = None
    count = 0
    while True:
        try:
            now = os.stat(path)
        except OSError:
            if count == 0:
                raise
            sleep(PAUSE)
            continue
        stamp = (now.st_mtime_ns, now.st_size, now.st_ino)
        if stamp != seen:
            seen, count = stamp, count + 1
            yield count
        else:
            sleep(PAUSE)
