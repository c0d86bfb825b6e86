"""What frames of codes are like: how many different ones they hold, and how sure a model is of them."""

from jaxtyping import Float, Int64
from torch import Tensor


def unique_codes(codes: Int64[Tensor, "*lead h w"]) -> Int64[Tensor, "*lead"]:
    """Return how many different codes each frame holds."""
    ordered = codes.flatten(-2).sort(-1).values
    return 1 + (ordered.diff(dim=-1) != 0).sum(-1)


def mode_share(draws: Int64[Tensor, "n *lead h w"]) -> Float[Tensor, "*lead"]:
    """Return how much n draws of a frame agree: the share of draws with a cell's most frequent code, the mean.

    1 where all draws are the same, 1 / n where no two of them agree anywhere.
    """
    most = draws.mode(0).values
    return (draws == most).float().mean((0, -2, -1))


def divergence(logits: Float[Tensor, "*cells codes"], others: Float[Tensor, "*cells codes"]) -> Float[Tensor, "*cells"]:
    """Return the Kullback-Leibler divergence of each cell's distribution from another one's, nats."""
    p, q = logits.log_softmax(-1), others.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
