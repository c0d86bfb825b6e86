"""Who reads the episodes of a source: this process, several of this machine, or a cluster (see `ray_executor`).

All of them give episodes back in the order in which they were asked for, so that it does not matter who reads. This
process and its kin work for anybody: what reads is any function that can travel, of any name.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from hallucade.data.conversion import Conversion, ConversionConfig, Converted
from hallucade.data.source import EpisodeSource, SourceConfig, SourceError

N = TypeVar("N")  # the name of an episode
T = TypeVar("T")  # what is read of it
AHEAD = 2  # episodes a worker that are read before they are needed


@dataclass(frozen=True)
class Read:
    """One episode of a source, read and converted."""

    name: str
    converted: Converted
    split: str | None
    seed: int | None


@dataclass(frozen=True)
class Refused:
    """One episode of a source that cannot be read."""

    name: str
    path: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Reader:
    """Reads and converts an episode by name; travels to other processes as the two configs."""

    source: SourceConfig
    conversion: ConversionConfig

    @cached_property
    def opened(self) -> EpisodeSource:
        """The source, opened once in each process."""
        return self.source.build()

    @cached_property
    def convert(self) -> Conversion:
        """The conversion of this source's episodes."""
        return Conversion(self.conversion, self.opened.actions, self.opened.fps)

    def __call__(self, name: str) -> Read | Refused:
        try:
            foreign = self.opened.read(name)
            return Read(name, self.convert(foreign), foreign.split, foreign.seed)
        except SourceError as error:
            return Refused(name, str(error.path), error.what, error.remedy)

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "conversion": self.conversion}


@runtime_checkable
class Executor(Protocol):
    """Reads many episodes, in the order of their names."""

    def __call__(self, reader: Reader, names: Iterable[str], /) -> Iterator[Read | Refused]: ...


@runtime_checkable
class AnyExecutor(Protocol):
    """Calls any function that can travel to other processes, on many names, in their order."""

    def __call__(self, reader: Callable[[N], T], names: Iterable[N], /) -> Iterator[T]: ...


def serial(reader: Callable[[N], T], names: Iterable[N]) -> Iterator[T]:
    """Read in this process."""
    return map(reader, names)


@dataclass(frozen=True)
class Processes:
    """Reads in processes of this machine, a few episodes ahead of the writer.

    Workers end at once when nobody wants more, and when this process is killed: each holds one end of a pipe whose
    other end is here alone.
    """

    workers: int

    def __call__(self, reader: Callable[[N], T], names: Iterable[N]) -> Iterator[T]:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        leash, held = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(self.workers, context, _start_worker, (reader, leash))
        left = iter(names)
        running: deque[Future[T]] = deque()

        def ask(episodes: int) -> None:
            with deaf_children():
                running.extend(pool.submit(_work, name) for name in islice(left, episodes))

        try:
            ask(self.workers * AHEAD)
            while running:
                yield running.popleft().result()
                ask(1)
        except BrokenProcessPool as error:
            raise MemoryError("a reading process was killed, most likely for want of memory") from error
        except BaseException:  # Ctrl-C, a damaged episode, enough frames: a long video is not read to its end
            held.close()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            held.close()
            leash.close()


def executor_of(workers: int | None, episodes: int) -> AnyExecutor:
    """Return the executor for a number of workers; None is one a core, at most one an episode.

    Raises:
        ValueError: fewer workers than one.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; use 1 or more, or leave it out for one a core")
    wanted = min(workers or os.cpu_count() or 1, episodes)
    return serial if wanted <= 1 else Processes(wanted)


class Worker(Generic[N, T]):
    """What a worker process does: it reads, and ends in the midst of that when its parent lets go of the leash.

    While an answer is on its way a worker does not end, as the parent would wait for the rest of it for ever; when the
    parent is dead it does. The engines of games that it started end with it: one that lives on holds the worker's end
    of the pipe by which the parent learns of its death.
    """

    def __init__(self, reader: Callable[[N], T], leash: Connection) -> None:
        self._reader, self._leash = reader, leash
        self._lock, self._reading, self._let_go = threading.Lock(), False, False
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, name: N) -> T:
        self._begin_or_end(reading=True)
        try:
            return self._reader(name)
        finally:
            self._begin_or_end(reading=False)

    def _begin_or_end(self, reading: bool) -> None:
        with self._lock:
            self._reading = reading
            self._end_if_let_go()

    def _watch(self) -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        wait([self._leash, parent.sentinel])
        with self._lock:
            self._let_go = True
            self._end_if_let_go()
        wait([parent.sentinel])
        _end()

    def _end_if_let_go(self) -> None:
        if self._reading and self._let_go:
            _end()


def _end() -> None:
    """End this worker at once, and what it started."""
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)  # its own group, see `_start_worker`
    os._exit(1)


_worker: Worker[Any, Any] | None = None  # of this process


def _start_worker(reader: Callable[[Any], Any], leash: Connection) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        os.setpgrp()
    _worker = Worker(reader, leash)


def _work(name: Any) -> Any:
    assert _worker is not None
    return _worker(name)


@contextlib.contextmanager
def deaf_children() -> Generator[None]:
    """Let processes that start here not hear Ctrl-C, from their first moment: it is for the parent, which ends them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
