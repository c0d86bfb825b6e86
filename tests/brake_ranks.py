"""One brake on two ranks, as processes of their own, each of which sees losses of its own."""

import torch
from two_ranks import find_as_rank

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
    find_as_rank(rank, port, folder, lambda: braked(OF_RANKS[rank]))
