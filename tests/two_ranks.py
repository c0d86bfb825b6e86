"""Two ranks as processes of their own, and what each of them finds."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fork_server import ForkServer
from torch import distributed


def found_by_two(module: str, function: str, folder: Path) -> list[Any]:
    """Call ``function(rank, port, folder)`` of a module of the tests on each of two ranks; return what they found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ForkServer(module) as server:
        ranks = [server.start(function, rank, port, str(folder)) for rank in range(2)]
        assert [server.wait(rank) for rank in ranks] == [0, 0]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def find_as_rank(rank: int, port: int, folder: str, find: Callable[[], object]) -> None:
    """Join the other rank, and write what this one finds."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(find()))
    distributed.destroy_process_group()
