"""Networks spread over two processes learn what whole ones learn, and leave checkpoints for any number of them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from sharded_training import Dream, small_trainer

from hallucade.training.checkpoint import Checkpoint
from hallucade.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer("sharded_training") as server:
        yield server


def train(server: ForkServer, folder: Path, kind: str, steps: int, sharded: bool = True) -> Checkpoint:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [server.start("train_as_rank", rank, port, str(folder), kind, steps, int(sharded)) for rank in range(2)]
    assert [server.wait(rank) for rank in ranks] == [0, 0]
    return RunFolder(folder).checkpoints.load()


def assert_close(ours: Checkpoint, theirs: Checkpoint, tolerance: float) -> None:
    for kind in ("weights", "training"):
        found, expected = getattr(ours, kind), getattr(theirs, kind)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["distilled", "lora"])
def test_spread_networks_learn_what_whole_ones_do(server: ForkServer, tmp_path: Path, kind: str) -> None:
    """Weights, averages and momenta; the dream of a callback on rank 0 alone, too."""
    spread = train(server, tmp_path / "spread", kind, 3)
    assert_close(spread, train(server, tmp_path / "whole", kind, 3, sharded=False), 1e-5)
    ours, theirs = (torch.load(tmp_path / run / "rank_0.pt", weights_only=True) for run in ("spread", "whole"))
    torch.testing.assert_close(ours["dream"], theirs["dream"], rtol=1e-4, atol=1e-5)
    assert 0.5 * theirs["kept"] <= ours["kept"] < 0.52 * theirs["kept"]  # rows of odd number are one more here


def test_a_spread_run_resumes_exactly_and_on_one_process_alone(server: ForkServer, tmp_path: Path) -> None:
    whole = train(server, tmp_path / "run", "distilled", 4)
    train(server, tmp_path / "halves", "distilled", 2)
    assert_close(train(server, tmp_path / "halves", "distilled", 4), whole, 0.0)
    alone, dream = small_trainer(tmp_path / "run", "distilled", 6, [dreams := Dream()]), dreams
    assert alone.train(resume=True).step == 6
    assert torch.isfinite(dream.seen[-1]).all()


def test_one_process_that_is_told_to_spread_trains_as_ever(tmp_path: Path) -> None:
    plain, told = (tmp_path / name for name in ("plain", "told"))
    small_trainer(plain, "distilled", 2).train()
    small_trainer(told, "distilled", 2, sharded=True).train()
    assert_close(RunFolder(told).checkpoints.load(), RunFolder(plain).checkpoints.load(), 0.0)
