"""InfoNCE: rows that belong together are to be told from all other rows, in both directions, on all ranks.

Source: van den Oord et al. 2018, arXiv:1807.03748; symmetric and normalised as Radford et al. 2021, arXiv:2103.00020.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.data.clips import Clip
from hallucade.nn.rank_gather import gathered, gathered_with_gradient, ranks_and_own
from hallucade.shapes import Scalar


def check_comparison(temperature: float, projection: int) -> None:
    """Refuse numbers that nothing can be compared with.

    Raises:
        ValueError: names them.
    """
    if temperature <= 0 or projection < 1:
        raise ValueError(f"temperature is {temperature}, projection {projection}; both are positive")


def build_projection(width: int, size: int) -> nn.Module:
    """Return the network whose outcome is compared; the encoder's features stand before it."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, size))


def same_episode(clip: Clip) -> Bool[Tensor, "b all"]:
    """Return which clips of all ranks are of each clip's episode; only itself where the source does not say."""
    world, own = ranks_and_own()
    count, device = len(clip.frames), clip.frames.device
    numbers = torch.arange(count) + own * count if clip.episodes is None else clip.episodes
    numbers = numbers.to(device)
    return numbers[:, None] == (gathered(numbers) if world > 1 else numbers)


def compared(
    rows: Float[Tensor, "b c"],
    others: Float[Tensor, "b c"],
    alike: Bool[Tensor, "b all"],
    temperature: float,
) -> tuple[Scalar, dict[str, Tensor]]:
    """Return symmetric InfoNCE of rows that belong together, and what is to be known of it.

    `alike` marks pairs that are no counterexamples; a row's own partner always counts. Metrics are the share of rows
    whose partner is the nearest, and the number of counterexamples of a row.

    Raises:
        ValueError: there are no counterexamples at all.
    """
    first, second = (F.normalize(each.float(), dim=-1) for each in (rows, others))
    all_first, all_second = gathered_with_gradient(first), gathered_with_gradient(second)
    own = torch.arange(len(rows), device=rows.device) + ranks_and_own()[1] * len(rows)
    left_out = alike.scatter(1, own[:, None], False)
    counterexamples = (~alike).sum(1)
    if not counterexamples.any():
        raise ValueError(
            f"all {alike.shape[1]} clips of a step are of one episode, which leaves nothing to tell a clip from; "
            "enlarge the batch, or give play of more episodes"
        )
    losses = list[Scalar]()
    hits = list[Tensor]()
    for queries, keys in ((first, all_second), (second, all_first)):
        logits = (queries @ keys.mT / temperature).masked_fill(left_out, -math.inf)
        losses.append(F.cross_entropy(logits, own))
        hits.append((logits.argmax(1) == own).float().mean())
    metrics = {"retrieved": torch.stack(hits).mean(), "counterexamples": counterexamples.float().mean()}
    return torch.stack(losses).mean(), metrics
