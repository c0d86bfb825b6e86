"""Feed-forward layers of a transformer block: a plain MLP, or one whose hidden units are gated.

Source of the gated ones: Shazeer 2020, arXiv:2002.05202.
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FeedForward = Literal["swiglu", "geglu", "gelu"]

HIDDEN_MULTIPLE = 8  # matrix kernels like round sizes


class MLP(nn.Module):
    """Two layers around a GELU: 2 * width * hidden weights."""

    def __init__(self, width: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "*lead c"]) -> Float[Tensor, "*lead c"]:
        return self.down(F.gelu(self.up(x)))


class GatedMLP(nn.Module):
    """A value and its gate, both in one projection: 3 * width * hidden weights."""

    def __init__(self, width: int, hidden: int, *, bias: bool, gate: Literal["silu", "gelu"] = "silu") -> None:
        super().__init__()
        self.gate = F.silu if gate == "silu" else F.gelu
        self.up = nn.Linear(width, 2 * hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "*lead c"]) -> Float[Tensor, "*lead c"]:
        gate, value = self.up(x).chunk(2, -1)
        return self.down(self.gate(gate) * value)


def build_feed_forward(kind: FeedForward, width: int, ratio: float, *, bias: bool) -> MLP | GatedMLP:
    """Build a layer of about `ratio` hidden units for each channel, rounded to a multiple of `HIDDEN_MULTIPLE`.

    "swiglu" gates by SiLU, which toy-wm calls GEGLU; "geglu" by GELU; "gelu" does not gate, and has the weights of a
    gated layer at 1.5 times the ratio.
    """
    hidden = hidden_size(width, ratio)
    match kind:
        case "swiglu":
            return GatedMLP(width, hidden, bias=bias)
        case "geglu":
            return GatedMLP(width, hidden, bias=bias, gate="gelu")
        case "gelu":
            return MLP(width, hidden, bias=bias)


def hidden_size(width: int, ratio: float) -> int:
    """Return the hidden units of a layer.

    Raises:
        ValueError: there would be none.
    """
    hidden = round(ratio * width / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE
    if hidden < 1:
        raise ValueError(
            f"mlp_ratio is {ratio}: no hidden units at width {width}; use {HIDDEN_MULTIPLE / width:g} or more"
        )
    return hidden
