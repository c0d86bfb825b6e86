"""The places of a transformer block where actions may enter, and what is known there.

A model holds one kind of injection, and every block a module of it, which answers at one of five places. An action here
is one vector a frame: the embedding of what was pressed while the frame before was on screen, or, for a kind with
embeddings of its own, the encoded actions themselves, of as many latents as it reaches.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.nn.attention import Axis, KeysValues, View
from hallucade.nn.rope import Rotation, frequencies, rotation

Parts = tuple[Float[Tensor, "b t 1 c"], ...]  # shift, scale and gate of attention, then of the MLP
Kept = tuple[KeysValues, ...]  # what later frames may see of actions; empty for most kinds


class ActionInjection(nn.Module):
    """The five places of a block, each left as it is."""

    def enter(self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t d"]) -> Float[Tensor, "b t n c"]:
        """Change the tokens that enter the block."""
        return x

    def condition(self, condition: Float[Tensor, "b t c"], action: Float[Tensor, "b t d"]) -> Float[Tensor, "b t c"]:
        """Change what the adaptive norms are computed from."""
        return condition

    def modulate(self, parts: Parts, action: Float[Tensor, "b t d"]) -> Parts:
        """Change the vectors of the adaptive norms."""
        return parts

    def between(
        self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t d"], view: View, past: Kept
    ) -> tuple[Float[Tensor, "b t n c"], Kept]:
        """Change the tokens after attention, before the MLP; also return what later frames may see of these actions.

        Args:
            x: the tokens.
            action: of their frames.
            view: which frames see each other.
            past: what earlier calls returned, for the frames before; empty if this pass is the first.
        """
        return x, ()

    def leave(
        self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t d"], view: View, past: Kept
    ) -> tuple[Float[Tensor, "b t n c"], Kept]:
        """Change the tokens that leave the block, otherwise as `between`."""
        return x, ()


@dataclass(frozen=True, kw_only=True)
class BlockSite:
    """A block that an injection is built for."""

    width: int
    heads: int
    axis: Axis
    index: int  # of the block among those along the same axis
    count: int  # of these
    features: int  # of an encoded action
    axes: int  # of these, the last so many are axes of a stick or a mouse; the others buttons and choices
    stride: int  # actions a latent


@dataclass(frozen=True)
class FrameClock:
    """Rotary positions in time for a few pairs of a head; the others stand still."""

    turning: int  # pairs that turn
    still: int  # pairs that do not
    base: float

    def turn(self, frames: Int64[Tensor, "t"], device: torch.device) -> Rotation:
        """Return the rotation of one token a frame; `frames` are frame numbers."""
        return rotation(
            torch.stack([frames, torch.zeros_like(frames)], 1),
            frequencies((self.turning, self.still), self.base),
            device,
        )


@dataclass(frozen=True, kw_only=True)
class InjectionConfig(Config):
    """Base of the ways an action enters: a part of a transformer's config."""

    in_output: ClassVar[bool] = False  # whether the adaptive norm before the output hears of the action too
    embeds: ClassVar[bool] = False  # whether its blocks embed encoded actions themselves

    @property
    def reach(self) -> int:
        """Latents whose actions a frame is told of, its own included."""
        return 1

    def clock(self, width: int, heads: int) -> FrameClock | None:
        """Return the positions of what later frames may see of actions; None if it has none."""
        return None

    def build(self, site: BlockSite) -> ActionInjection:
        """Build the module of one block."""
        raise NotImplementedError
