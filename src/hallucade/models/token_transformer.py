"""A transformer over frames of codes: it fills in the cells of the next frame that are not known yet.

Training hides some cells of every frame and shows what came before; play starts from a frame of which nothing is known.
The actions are those of the diffusion transformer, in every block and not in each channel's scale alone.

Source: Chang et al. 2022 (MaskGIT), arXiv:2202.04200; over time Bruce et al. 2024 (Genie), arXiv:2402.15391.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.models.acted_transformer import ActedTransformer, ActedTransformerConfig, TransformerMemory
from hallucade.models.base import LatentClip, TokenModel, WorldModel, codes_of, first_forced
from hallucade.models.frame_transformer import FrameCues
from hallucade.nn.action_window import windows
from hallucade.nn.level_embedding import LevelEmbeddingConfig
from hallucade.shapes import Action, Latent
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenTransformerConfig(ActedTransformerConfig):
    """The network's sizes and layers; how many codes there are is the tokenizer's.

    Raises:
        ValueError: a bidirectional network, which cannot be played.
    """

    patch: int = 1  # cells a side that share one token of the network
    code_width: int = 64  # numbers that a code is embedded in

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code_width < 1:
            raise ValueError(f"code_width is {self.code_width}; use 1 or more")
        if self.attention == "bidirectional":
            raise ValueError("attention is 'bidirectional'; a token model is played frame by frame: use 'causal'")

    def build_on(self, tokenizer: Tokenizer, actions: ActionSpace, frame_size: tuple[int, int]) -> WorldModel[Any]:
        """Build the model for the codes of a tokenizer.

        Raises:
            ValueError: it makes float channels, or several codes a cell.
        """
        codes, shape = codes_of(tokenizer, frame_size, "TokenTransformer")
        return TokenTransformer(self, codes, actions.features, shape, axes=len(actions.axes))


class TokenTransformer(ActedTransformer, TokenModel[TransformerMemory]):
    """Says how likely each code is in the cells of the next frames, which see each other and all that came before."""

    def __init__(
        self,
        config: TokenTransformerConfig,
        codes: int,
        action_features: int,
        latent_shape: tuple[int, ...],
        axes: int = 0,
        writes: int | None = None,
    ) -> None:
        """Build a network for encoded actions, of which the last `axes` features are those of a stick or a mouse.

        `writes` is how many numbers it says of a cell; None for the logits of all codes.
        """
        super().__init__(
            config,
            (config.code_width, *latent_shape),
            extra=0,
            features=action_features,
            axes=axes,
            stride=config.stride,
            writes=writes or codes,
        )
        self.config, self.codes, self.latent_shape = config, codes, latent_shape
        self.block, self.context = config.block, config.window
        self.embed_code = nn.Embedding(codes + 1, config.code_width)  # the last one is of cells that are not known
        self.embed_share = LevelEmbeddingConfig().build(config.width)
        self.build_actions(config, action_features)

    def logits(
        self, state: TransformerMemory, action: Action | None, tokens: Int64[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w codes"]:
        return self.said(state, action, tokens)

    def forced_logits(
        self,
        clip: LatentClip,
        tokens: Int64[Tensor, "b p h w"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p h w codes"]:
        return self.forced_said(clip, tokens, dropped)

    def said(
        self, state: TransformerMemory, action: Action | None, tokens: Int64[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w writes"]:
        """Return what the network says of every cell of the next block."""
        cues = self._cues(tokens, self.next_rows(state, action, tokens.shape[1]))
        read, _ = self.read_next(state.frames, state.caches, self._embedded(tokens), cues)
        return self._last(self.read_out(read, cues))

    def forced_said(
        self, clip: LatentClip, tokens: Int64[Tensor, "b p h w"], dropped: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, "b p h w writes"]:
        """Return what the network says of the cells of a clip's last p latents; see ``forced_logits``."""
        first, total = first_forced(self, clip, tokens), clip.latents.shape[1]
        self.check_actions(clip.actions.shape[1], total)
        seen = self._cues(clip.latents, self.action_rows(clip.actions))
        _, clean = self.read_clip(self._embedded(clip.latents), seen)
        cues = FrameCues(self._condition(tokens), self.heard(clip.actions, dropped, seen.action)[:, first:])
        return self._last(self.read_out(self.read_forced(clean, total, self._embedded(tokens), cues), cues))

    def initial(self, latent: Latent) -> TransformerMemory:
        """Start a memory from the first block of an episode, or a part of it; no action is known in it."""
        unknown = self.config.injection.reach - 1 + latent.shape[1]
        return self._begun(latent, self.no_action.expand(latent.shape[0], unknown, -1))

    def prefill(self, clip: LatentClip) -> TransformerMemory:
        """Start a memory from a whole clip; latents that fill no block come first, in a shorter one."""
        self.check_actions(clip.actions.shape[1], clip.latents.shape[1])
        return self._begun(clip.latents, self.action_rows(clip.actions))

    def observe(self, state: TransformerMemory, action: Action | None, latent: Latent) -> TransformerMemory:
        rows = self.next_rows(state, action, latent.shape[1])
        return self.gone_on(state, self._embedded(latent), self._condition(latent), rows)

    def _begun(self, latents: Int64[Tensor, "b t h w"], rows: Float[Tensor, "b rows g"]) -> TransformerMemory:
        return self.begun(self._embedded(latents), self._condition(latents), rows)

    def _cues(self, tokens: Int64[Tensor, "b t h w"], rows: Float[Tensor, "b rows g"]) -> FrameCues:
        return FrameCues(self._condition(tokens), windows(rows, self.config.injection.reach))

    def _condition(self, tokens: Int64[Tensor, "b t h w"]) -> Float[Tensor, "b t c"]:
        """Return what frames are told beside their action: the share of their cells that is not known."""
        return self.embed_share((tokens == self.mask).float().mean((2, 3)))

    def _embedded(self, tokens: Int64[Tensor, "b t h w"]) -> Float[Tensor, "b t c h w"]:
        return self.embed_code(tokens).movedim(-1, 2)

    def _last(self, frames: Float[Tensor, "b t writes h w"]) -> Float[Tensor, "b t h w writes"]:
        return frames.movedim(2, -1).float()
