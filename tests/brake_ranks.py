"""One brake on two ranks, as processes of their own, each of which sees losses of its own."""

import json
import os
from pathlib import Path

import torch
from torch import distributed

from hallucade.objectives.adaptive_brake import AdaptiveBrakeConfig

ASKED = 4
OF_RANKS = [[1.0, 1.0, float("nan"), 1.0], [2.5, 1.6, 1.0, 1.1]]


def braked(ratios: list[float]) -> list[int]:
    """Return the frames that are let through after each step, of this rank's ratios of loss."""
    brake = AdaptiveBrakeConfig(most_ratio=1.5, least_ratio=1.2, every=1, decay=0.0).build()
    assert brake is not None
    let = list[int]()
    for ratio in ratios:
        brake.update(torch.tensor(2.0), torch.tensor(2.0 * ratio), torch.tensor(1.0), ASKED)
        let.append(brake.limited(ASKED))
    return let


def brake_as_rank(rank: int, port: int, folder: str) -> None:
    """Write what a rank of two lets through; alone, one would brake and the other not."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    ratios = OF_RANKS[rank]
    (Path(folder) / f"{rank}.json").write_text(json.dumps(braked(ratios)))
    distributed.destroy_process_group()
