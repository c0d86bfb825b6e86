"""Imports that are killed, interrupted, or run twice at once: the store ends as if nobody had disturbed it.

``HALLUCADE_KILLS`` sets the number of disturbances (default 3); ``HALLUCADE_KILL_SEED`` their moments.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from importing import write_recordings

from hallucade.data.journal import JOURNAL
from hallucade.data.manifest import MANIFEST
from hallucade.data.store import EpisodeStore

KILLS = int(os.environ.get("HALLUCADE_KILLS", "3"))
SEED = int(os.environ.get("HALLUCADE_KILL_SEED", "0"))
EPISODES = 40
PATIENCE = 120.0  # seconds

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer("importing") as server:
        yield server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "play"
    write_recordings(folder, EPISODES)
    return folder


@pytest.fixture(scope="module")
def unbroken(server: ForkServer, source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a store that nobody disturbed."""
    store = tmp_path_factory.mktemp("unbroken") / "store"
    assert server.wait(begin(server, source, store, workers=1)) == 0
    return bytes_of(store)


def begin(server: ForkServer, source: Path, store: Path, workers: int = 2) -> int:
    return server.start("import_in_child", str(source), str(store), workers)


def bytes_of(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def said_by(process: int, store: Path) -> list[str]:
    """Return the lines that an import left on standard error."""
    return Path(f"{store}.{process}.txt").read_text().splitlines()


def stored(store: Path) -> int:
    """Return how many episodes are committed."""
    try:
        return (store / JOURNAL).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for(store: Path, episodes: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while stored(store) < episodes:
        assert time.monotonic() < deadline, f"{stored(store)} of {episodes} episodes came"
        time.sleep(0.002)


def test_killed_and_interrupted_at_random_moments_it_ends_as_if_unbroken(
    server: ForkServer, source: Path, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    moments, store = random.Random(SEED), tmp_path / "store"
    for number, episodes in enumerate(sorted(moments.choices(range(EPISODES - 3), k=KILLS))):
        importing = begin(server, source, store)
        wait_for(store, episodes)
        # Before anything is stored workers start, which takes seconds.
        time.sleep(moments.uniform(0, 0.02) if episodes else moments.uniform(0, 2))
        if number % 2 == 0:
            os.kill(importing, signal.SIGKILL)
            assert server.wait(importing) in (-signal.SIGKILL, 0)
        else:
            os.killpg(importing, signal.SIGINT)
            if server.wait(importing) != 0:
                assert said_by(importing, store)[-1] == "hallucade: interrupted"
                assert "Traceback" not in " ".join(said_by(importing, store))
        if (store / MANIFEST).exists():
            EpisodeStore(store).verify()
    assert server.wait(begin(server, source, store)) == 0
    assert bytes_of(store) == unbroken


def test_two_imports_at_once_are_one_import_and_one_line(
    server: ForkServer, source: Path, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = begin(server, source, store, workers=1)
    wait_for(store, 1)
    os.kill(first, signal.SIGSTOP)
    try:
        second = begin(server, source, store, workers=1)
        assert server.wait(second) == 2
        (said,) = said_by(second, store)
    finally:
        os.kill(first, signal.SIGCONT)
    assert said.startswith(f"hallucade: {store}: another process is writing to ")
    assert server.wait(first) == 0
    assert bytes_of(store) == unbroken
