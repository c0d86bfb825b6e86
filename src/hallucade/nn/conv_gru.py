"""A gated recurrent unit whose products are convolutions: a memory that stays where it is in the picture.

Source: Ballas et al. 2016, arXiv:1511.06432, section 3.1.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConvGRUCell(nn.Module):
    """``z, r = gates(x, h); h <- (1 - z) h + z tanh(candidate(x, r h))``: one convolution makes both gates.

    What is remembered is a mean of values between -1 and 1, and so stays there however long a game lasts.
    """

    def __init__(self, entering: int, width: int, kernel: int) -> None:
        """Make a cell for `entering` channels, `width` remembered ones and an odd `kernel`."""
        super().__init__()
        self.gates = nn.Conv2d(entering + width, 2 * width, kernel, padding=kernel // 2)
        self.candidate = nn.Conv2d(entering + width, width, kernel, padding=kernel // 2)

    def forward(self, x: Float[Tensor, "b e h w"], memory: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the memory after `x`."""
        update, reset = self.gates(torch.cat([x, memory], 1)).sigmoid().chunk(2, 1)
        candidate = self.candidate(torch.cat([x, reset * memory], 1)).tanh()
        return torch.lerp(memory, candidate.to(memory.dtype), update.to(memory.dtype))
