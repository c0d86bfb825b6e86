"""Two processes train as one: the same global batch, gradients averaged, one writer."""

import socket
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from tiny_training import LastingMethod, TinyMethod, losses, tiny_trainer

from hallucade.training.run_folder import RunFolder


def train_on_two_ranks(server: ForkServer, folder: Path, steps: int, lasting: bool = False) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [server.start("train_as_rank", rank, port, str(folder), steps, lasting) for rank in range(2)]
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


def test_state_of_each_rank_is_saved_and_resumed_with_its_rank(tmp_path: Path) -> None:
    with ForkServer("tiny_training") as server:
        train_on_two_ranks(server, tmp_path / "whole", 8, lasting=True)
        train_on_two_ranks(server, tmp_path / "halves", 5, lasting=True)
        train_on_two_ranks(server, tmp_path / "halves", 8, lasting=True)
    whole, halves = (RunFolder(tmp_path / name).checkpoints.load() for name in ("whole", "halves"))
    assert not any(name.startswith("game.") for name in whole.weights)
    assert whole.training["rank/0/game.seen"].shape == (8,)
    assert not torch.equal(whole.training["rank/0/game.seen"], whole.training["rank/1/game.seen"])
    for name, value in (whole.weights | whole.training).items():
        assert torch.equal(value, (halves.weights | halves.training)[name]), name
    with pytest.warns(UserWarning, match=r"in progress of 2 rank\(s\) and there are 1: all begin new ones"):
        tiny_trainer(tmp_path / "whole", LastingMethod(), steps=9).train(resume=True)
