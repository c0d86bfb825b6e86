"""One loss on two ranks, as processes of their own: what each gathers, and the gradients that come back."""

import torch
from two_ranks import find_as_rank

from hallucade.data.clips import Clip
from hallucade.objectives.infonce import compared, same_episode

BATCH, WIDTH = 6, 5  # over all ranks
EPISODES = (0, 1, 2, 0, 3, 1)  # two pairs of one episode each, either half of which is another rank's


def graded(rank: int = 0, world: int = 1) -> tuple[float, list[list[float]], float]:
    """Return the loss of this rank's rows, the gradients of what all rows share, and the share retrieved."""
    torch.manual_seed(7)
    rows, others = torch.randn(2, BATCH, WIDTH)
    shared = torch.randn(WIDTH, 4).requires_grad_()
    mine = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    clip = Clip(
        torch.zeros(BATCH // world, 2, 1, 1, 3, dtype=torch.uint8),
        torch.zeros(BATCH // world, 1, 1),
        episodes=torch.tensor(EPISODES)[mine],
    )
    loss, metrics = compared(rows[mine] @ shared, others[mine] @ shared, same_episode(clip), 0.3)
    loss.backward()
    assert shared.grad is not None
    return loss.item(), shared.grad.tolist(), metrics["retrieved"].item()


def grade_as_rank(rank: int, port: int, folder: str) -> None:
    """Write what a rank of two finds."""
    find_as_rank(rank, port, folder, lambda: graded(rank, 2))
