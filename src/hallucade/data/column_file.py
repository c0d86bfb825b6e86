"""A column file that is open for reading by position.

Not a memory map: a file that is cut short while it is mapped ends the process with a signal, and a read that meets the
end of the file just returns less. Reading straight into a batch costs about as much as copying out of a map.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What changes when somebody writes to a file, cuts it, or puts another one in its place."""

    inode: int
    size: int
    modified: int  # ns


class ColumnFile:
    """An open file, closed when nobody holds it any more; any number of threads and forked processes may read.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._handle = -1
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)

    def stamp(self) -> Stamp:
        """Return the file's present stamp."""
        found = os.fstat(self._handle)
        return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)

    def read_into(self, buffer: memoryview, position: int) -> bool:
        """Fill a buffer of bytes from a position; say whether the file reached that far.

        Raises:
            OSError: the disk is failing.
        """
        while buffer:
            count = self._read(buffer, position)
            if count == 0:
                return False
            buffer, position = buffer[count:], position + count
        return True

    if sys.platform == "win32":

        def _read(self, buffer: memoryview, position: int) -> int:
            with self._lock:
                os.lseek(self._handle, position, os.SEEK_SET)
                found = os.read(self._handle, len(buffer))
            buffer[: len(found)] = found
            return len(found)
    else:

        def _read(self, buffer: memoryview, position: int) -> int:
            return os.preadv(self._handle, [buffer], position)
