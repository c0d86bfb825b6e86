"""Reads the next clips in the background while the model works on this one."""

import queue
import threading
from collections.abc import Iterator

from hallucade.data.clips import Clip, ClipSource


def prefetch(windows: ClipSource, start_step: int = 0, depth: int = 2, rank: int = 0, world: int = 1) -> Iterator[Clip]:
    """Yield the clips of `start_step`, `start_step` + 1 and so on, endlessly, read ahead by one thread.

    Closing the iterator (``contextlib.closing``), or losing it, stops the thread; its errors are raised here.

    Args:
        windows: where clips come from.
        start_step: of the first clip.
        depth: clips held ready.
        rank: whose share of each batch.
        world: ranks that share it.
    """
    ready: queue.Queue[Clip | BaseException] = queue.Queue(depth)
    stopped = threading.Event()

    def read() -> None:
        step = start_step
        try:
            while not stopped.is_set():
                ready.put(windows.batch_at(step, rank, world))
                step += 1
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=read, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            _drop_one(ready)  # the thread may be waiting for room
            thread.join(timeout=0.01)


def _drop_one(ready: "queue.Queue[Clip | BaseException]") -> None:
    try:
        ready.get_nowait()
    except queue.Empty:
        return
