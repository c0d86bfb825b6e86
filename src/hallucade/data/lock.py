"""One writer a folder: a lock of the operating system, which a dead process cannot keep."""

import os
import sys
from pathlib import Path

LOCK = ".lock"

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_folder(path: Path) -> int | None:
    """Lock a folder for writing; closing the returned file descriptor, or dying, unlocks it.

    Returns:
        The descriptor; None if another writer holds the lock.
    Raises:
        OSError: the folder cannot be written to.
    """
    handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _try_lock(handle)
    except OSError:
        os.close(handle)
        return None
    return handle
