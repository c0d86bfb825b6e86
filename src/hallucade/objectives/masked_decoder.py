"""From what an encoder saw at some places to what is at others: the network that masked training throws away after."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hallucade.models.video_encoder import VideoEncoder
from hallucade.objectives.encoder_objective import shallow_grid

MASK_STD = 0.02  # of the vector that stands for what is hidden


class MaskedDecoder(nn.Module):
    """A few narrow blocks over the features of kept places, and over one vector at each of the hidden ones."""

    adamw = ("mask", "enter", "leave")

    def __init__(self, encoder: VideoEncoder, *, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(encoder.config.width, width)
        self.mask = nn.Parameter(MASK_STD * torch.randn(width))
        self.grid = shallow_grid(encoder, width, depth)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs)

    def forward(
        self, features: Float[Tensor, "b s k c"], kept: Int64[Tensor, "b k"], hidden: Int64[Tensor, "b m"]
    ) -> Float[Tensor, "b s m outputs"]:
        """Return what is at hidden places, in their order."""
        tokens = self.enter(features)
        stand_ins = self.mask.to(tokens.dtype).expand(*tokens.shape[:2], hidden.shape[1], -1)
        tokens, places = torch.cat([tokens, stand_ins], 2), torch.cat([kept, hidden], 1)
        tokens = tokens + self.grid.vectors(tokens.shape[1], places, tokens.device).to(tokens.dtype)
        return self.leave(self.norm(self.grid(tokens, places)[:, :, kept.shape[1] :]))


def random_order(batch: int, places: int, generator: torch.Generator) -> Int64[Tensor, "b n"]:
    """Draw an order of all places for each clip."""
    return torch.rand((batch, places), generator=generator).argsort(-1)
