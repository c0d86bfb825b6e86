"""A training killed by SIGKILL ends, once resumed, with the loss bits and the tensors of the unbroken run.

``HALLUCADE_KILLS`` sets the number of kills (default 4); ``HALLUCADE_KILL_SEED`` their moments.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from tiny_training import fingerprint, losses

from hallucade.training.run_folder import RunFolder

KILLS = int(os.environ.get("HALLUCADE_KILLS", "4"))
SEED = int(os.environ.get("HALLUCADE_KILL_SEED", "0"))
STEPS = 36


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer("tiny_training") as server:
        yield server


@pytest.fixture(scope="module")
def unbroken(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a run that nobody disturbed, and the seconds that it took."""
    folder, start = tmp_path_factory.mktemp("unbroken") / "run", time.monotonic()
    assert finish(server, folder) == 0
    return folder, time.monotonic() - start


def begin(server: ForkServer, folder: Path, *options: int) -> int:
    return server.start("train_in_child", str(folder), STEPS, *options)


def finish(server: ForkServer, folder: Path, *options: int) -> int:
    """Train until the process ends; return its exit code."""
    return server.wait(begin(server, folder, *options))


def assert_same_run(folder: Path, unbroken: Path) -> None:
    assert losses(folder) == losses(unbroken)
    assert fingerprint(folder) == fingerprint(unbroken)
    assert not [path for path in (folder / "checkpoints").iterdir() if "tmp" in path.name]


def test_killed_at_random_moments_it_ends_as_if_unbroken(
    server: ForkServer, unbroken: tuple[Path, float], tmp_path: Path
) -> None:
    moments, (whole, seconds) = random.Random(SEED), unbroken
    folder, kills, finished = tmp_path / "0", 0, 0
    while kills < KILLS:
        child = begin(server, folder)
        time.sleep(moments.uniform(0.05, 0.8) * seconds)
        os.kill(child, signal.SIGKILL)  # a child that has ended keeps its number until it is waited for
        if server.wait(child) == -signal.SIGKILL:
            kills += 1
        else:  # it was quicker: check it, and kill the next one
            assert_same_run(folder, whole)
            finished += 1
            folder = tmp_path / str(finished)
    assert finish(server, folder) == 0
    assert_same_run(folder, whole)


@pytest.mark.parametrize("call", range(1, 42, max(1, 20 // KILLS)))
def test_killed_at_a_call_that_makes_something_last_it_ends_as_if_unbroken(
    server: ForkServer, unbroken: tuple[Path, float], tmp_path: Path, call: int
) -> None:
    folder = tmp_path / "run"
    assert finish(server, folder, call) == -signal.SIGKILL
    assert all(step % 7 == 0 for step in RunFolder(folder).checkpoints.steps())
    assert finish(server, folder) == 0
    assert_same_run(folder, unbroken[0])
