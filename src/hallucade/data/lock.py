"""One writer a store: a lock of the operating system, which a dead process cannot keep."""

import os
import sys
from pathlib import Path

from hallucade.data.manifest import StoreError

LOCK = ".lock"

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_store(path: Path) -> int:
    """Lock the store at `path` for writing; closing the returned file descriptor, or dying, unlocks it.

    Raises:
        StoreError: another writer holds it, or the folder cannot be written to.
    """
    try:
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(path, f"cannot write there ({error.strerror})", "choose another folder") from error
    try:
        _lock(handle)
    except OSError as error:
        os.close(handle)
        raise StoreError(path, "another process is writing to this store", "wait for it or stop it") from error
    return handle
