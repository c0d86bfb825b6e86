"""A transformer of codes that draws a frame cell by cell: each knows those before it, and all frames and actions.

The space-time transformer is asked once a block, of which it is shown nothing, what it expects of every cell; a small
causal network goes on from there. Where the future is open, what is drawn first decides, and the rest agrees with it.

Source: IRIS (Micheli et al. 2022, arXiv:2209.00588) draws so with one network.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.models.acted_transformer import TransformerMemory
from hallucade.models.base import LatentClip, WorldModel, codes_of
from hallucade.models.raster import Chooser, RasterModel
from hallucade.models.raster_head import RasterHead, RasterHeadConfig
from hallucade.models.token_transformer import TokenTransformer, TokenTransformerConfig
from hallucade.shapes import Action
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class RasterTransformerConfig(TokenTransformerConfig):
    """The sizes of both networks."""

    head: RasterHeadConfig = field(default_factory=RasterHeadConfig)  # that runs from cell to cell

    def build_on(self, tokenizer: Tokenizer, actions: ActionSpace, frame_size: tuple[int, int]) -> WorldModel[Any]:
        """Build the model for the codes of a tokenizer.

        Raises:
            ValueError: it makes float channels, or several codes a cell.
        """
        codes, shape = codes_of(tokenizer, frame_size, "RasterTransformer")
        return RasterTransformer(self, codes, actions.features, shape, axes=len(actions.axes))


class RasterTransformer(TokenTransformer, RasterModel[TransformerMemory]):
    """Says how likely each code is in a cell after the codes before it in the block, and all that came before."""

    def __init__(
        self,
        config: RasterTransformerConfig,
        codes: int,
        action_features: int,
        latent_shape: tuple[int, ...],
        axes: int = 0,
    ) -> None:
        """Build the networks for encoded actions; see the base class."""
        super().__init__(config, codes, action_features, latent_shape, axes, writes=config.head.width)
        rows, columns = latent_shape
        self.head = RasterHead(config.head, codes, config.head.width, config.code_width, (rows, columns))

    def logits(
        self, state: TransformerMemory, action: Action | None, tokens: Int64[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w codes"]:
        return self.head(self.said(state, action, torch.full_like(tokens, self.mask)), tokens)

    def forced_logits(
        self,
        clip: LatentClip,
        tokens: Int64[Tensor, "b p h w"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p h w codes"]:
        expected = self.forced_said(clip, torch.full_like(tokens, self.mask), dropped)
        logits = self.head(self._blocks_of(expected), self._blocks_of(tokens))
        return logits.unflatten(0, (len(tokens), -1)).flatten(1, 2)

    def draw(self, state: TransformerMemory, action: Action | None, choose: Chooser) -> Int64[Tensor, "b k h w"]:
        (rows, columns), batch = self.latent_shape, len(state.recent)
        nothing = torch.full((batch, self.block, rows, columns), self.mask, device=state.recent.device)
        return self.head.draw(self.said(state, action, nothing), choose)

    def _blocks_of(self, latents: Shaped[Tensor, "b p *cell"]) -> Shaped[Tensor, "blocks k *cell"]:
        return latents.reshape(-1, self.block, *latents.shape[2:])
