"""Two processes train as one: the same global batch, gradients averaged, one writer."""

import socket
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from tiny_training import TinyMethod, losses, tiny_trainer

from hallucade.training.run_folder import RunFolder


def train_on_two_ranks(server: ForkServer, folder: Path, steps: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [server.start("train_as_rank", rank, port, str(folder), steps) for rank in range(2)]
    assert [server.wait(rank) for rank in ranks] == [0, 0]


def test_two_ranks_equal_one_with_the_same_global_batch_and_resume(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny_trainer(tmp_path / "one", TinyMethod(random=False), steps=8).train()
    with ForkServer("tiny_training") as server:
        train_on_two_ranks(server, tmp_path / "whole", 8)
        train_on_two_ranks(server, tmp_path / "halves", 5)
        train_on_two_ranks(server, tmp_path / "halves", 8)
    assert [step for step, _ in losses(tmp_path / "halves")] == list(range(1, 9))
    for (_, x), (_, y) in zip(losses(tmp_path / "one"), losses(tmp_path / "whole"), strict=True):
        assert float.fromhex(x) == pytest.approx(float.fromhex(y), rel=1e-3)
    assert RunFolder(tmp_path / "halves").checkpoints.load().step == 8
