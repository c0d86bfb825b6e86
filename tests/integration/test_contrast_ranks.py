"""Contrast over two ranks is that of one rank which holds all clips."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from contrast_ranks import graded
from fork_server import ForkServer


def test_two_ranks_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ForkServer("contrast_ranks") as server:
        ranks = [server.start("grade_as_rank", rank, port, str(tmp_path)) for rank in range(2)]
        assert [server.wait(rank) for rank in ranks] == [0, 0]
    (loss, gradient, retrieved), (other, gradient_there, retrieved_there) = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)
    )
    whole, all_gradients, all_retrieved = graded()
    assert loss != pytest.approx(other, rel=1e-3)
    assert (loss + other) / 2 == pytest.approx(whole, rel=1e-5)
    assert (retrieved + retrieved_there) / 2 == pytest.approx(all_retrieved)
    mean = (np.array(gradient) + np.array(gradient_there)) / 2  # as the trainer averages them
    np.testing.assert_allclose(mean, all_gradients, rtol=1e-4, atol=1e-6)
