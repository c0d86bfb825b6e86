"""A transformer over the patches of frames, before it is known what it predicts.

Layers alternate between the patches of one frame and one patch through time ("factorised"), or attend over both at once
("full", toy-wm's). A clip is read in one masked pass, a game block by block with a cache of past keys and values. The
two admit exactly the same frames (`FrameViews`) and agree. A bidirectional network has no mask and no memory, and the
parameters of a causal one.

Source: Peebles and Xie 2023, arXiv:2212.09748.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import checkpoint

from hallucade.config import Config
from hallucade.nn.action_injection import JoinedInjectionConfig
from hallucade.nn.attention import Axis, SelfAttention, View
from hallucade.nn.block_cache import BlockCache, BlockKeys
from hallucade.nn.feed_forward import FeedForward, build_feed_forward, hidden_size
from hallucade.nn.injection import BlockSite, InjectionConfig
from hallucade.nn.modulation import Modulation, modulate
from hallucade.nn.norm import Norm, build_norm
from hallucade.nn.patch import PatchEmbedding, PatchOutput, Stem
from hallucade.nn.positions import (
    EQUAL,
    Positions,
    Shares,
    TokenPositions,
    check_head,
    check_shares,
    moments,
    regridded,
    stretched,
)
from hallucade.nn.transformer_block import TransformerBlock
from hallucade.nn.views import FrameViews
from hallucade.nn.window import FrameSpan, FrameWindow

TOKEN_STD = 0.02  # of learned vectors that stand among tokens


@dataclass(frozen=True, kw_only=True)
class FrameTransformerConfig(Config):
    """Sizes and layers; the defaults suit 24x24 frames and two CPU cores.

    Raises:
        ValueError: choices that do not fit each other, with what would.
    """

    width: int = 128
    depth: int = 4  # blocks; in the factorised layout every second one looks through time
    heads: int = 4
    patch: int = 4  # pixels per side
    attention: Literal["causal", "bidirectional"] = "causal"  # over blocks; bidirectional: all frames see each other
    block: int = 1  # latents that advance together and see each other
    window: int = 32  # frames attended, the current block included
    sink: int = 0  # frames at the start of a game that stay attended, part of the window
    layout: Literal["factorised", "full"] = "factorised"
    positions: Positions = "axial"
    position_shares: Shares = EQUAL  # of a head, for time, row and column of video positions
    rope_base: float = 10_000.0
    learned_positions: bool = False  # vectors added to patches, and to frames before the first layer through time
    stem: Stem = "linear"
    stem_kernel: int = 3  # pixels, of a conv stem
    stem_norm: bool = True  # group norms in a conv stem
    registers: int = 0  # learned extra tokens a frame
    mlp: FeedForward = "swiglu"
    mlp_ratio: float = 3.0  # hidden units for each channel
    mlp_bias: bool = False
    norm: Norm = "layer"
    qk_norm: bool = True
    scaled_logits: bool = True  # divide attention logits by the root of the head size
    zero_init: bool = True  # blocks start as identity, the output as zero
    injection: InjectionConfig = field(default_factory=JoinedInjectionConfig)  # where actions enter a block
    checkpointing: bool = False  # compute blocks again in the backward pass, which then remembers what enters them

    def __post_init__(self) -> None:
        for name in ("width", "heads", "patch", "stem_kernel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")
        FrameWindow(self.window, self.sink, self.block)
        if self.attention == "bidirectional":
            self._check_bidirectional()
        if self.depth < (2 if self.layout == "factorised" else 1):
            raise ValueError(
                f"depth is {self.depth}; the {self.layout} layout needs a block for space and one for time"
            )
        if self.registers < 0:
            raise ValueError(f"registers is {self.registers}; use 0 for none, or more")
        check_shares(self.positions, self.position_shares)
        check_head(self.positions, set(self.axes), self.width, self.heads, self.position_shares)
        if self.positions == "learned" and self.learned_positions:
            raise ValueError("positions='learned' adds vectors already; leave learned_positions off")
        if self.rope_base <= 1:
            raise ValueError(f"rope_base is {self.rope_base}; use a number above 1, such as 10000")
        hidden_size(self.width, self.mlp_ratio)
        self.injection.clock(self.width, self.heads)

    def _check_bidirectional(self) -> None:
        for name, plain in (("block", 1), ("sink", 0)):
            if getattr(self, name) != plain:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, which attention='bidirectional' does not read: all frames see "
                    f"each other; use {name}={plain}"
                )
        if self.positions == "learned":
            raise ValueError(
                "positions='learned' with attention='bidirectional': there are vectors for a window, and clips may be "
                "longer; turn to rotary positions ('axial', 'video', 'flat')"
            )

    @property
    def axes(self) -> list[Axis]:
        """The sequence that each block attends over."""
        if self.layout == "full":
            return ["both"] * self.depth
        return ["time" if i % 2 else "space" for i in range(self.depth)]

    @property
    def resizes(self) -> bool:
        """Whether one network can see pictures of several sizes."""
        return self.positions != "flat"

    def tokens(self, latent_shape: tuple[int, ...]) -> int:
        """Return how many patches and registers a latent of this shape makes."""
        height, width = latent_shape[-2:]
        return height * width // self.patch**2 + self.registers

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of patches.

        Raises:
            ValueError: the size does not divide.
        """
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"frames of {height}x{width} do not divide by patch {self.patch}; choose a patch that divides both"
            )
        return height // self.patch, width // self.patch

    @property
    def has_vectors(self) -> bool:
        """Whether learned vectors tell positions, alone or beside a rotation."""
        return self.learned_positions or self.positions == "learned"


@dataclass(frozen=True)
class FrameCues:
    """What a network is told of every frame beside its pixels."""

    condition: Float[Tensor, "b t c"]  # the noise level
    action: Float[Tensor, "b t d"]  # the action that led there


class FrameTransformer(nn.Module):
    """From frames and what is known about them to frames, for models to make a prediction of.

    Args:
        config: sizes and layers.
        latent_shape: of a frame, without what is `extra`.
        extra: channels that a frame it reads has beside these.
        features: of an encoded action.
        axes: the last so many of these are axes of a stick or a mouse.
        stride: actions a latent.
        writes: channels of a frame that it returns; None for those of `latent_shape`.
    """

    def __init__(
        self,
        config: FrameTransformerConfig,
        latent_shape: tuple[int, ...],
        *,
        extra: int,
        features: int,
        axes: int,
        stride: int,
        writes: int | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = latent_shape
        self.rows, columns = config.grid(height, width)
        self.axes = config.axes
        self.looks_back: Axis = "both" if config.layout == "full" else "time"
        self.window = FrameWindow(config.window, config.sink, config.block)
        self.checkpointing = config.checkpointing
        self.positions = TokenPositions(
            config.positions,
            self.rows,
            columns,
            config.registers,
            config.width // config.heads,
            config.rope_base,
            config.position_shares,
        )
        clock = config.injection.clock(config.width, config.heads)
        self.views = FrameViews(self.positions, self.window, clock, causal=config.attention == "causal")
        self.acts_in_output = config.injection.in_output
        self.embed = PatchEmbedding(
            channels + extra, config.width, config.patch, config.stem, config.stem_kernel, config.stem_norm
        )
        self.patches = self.positions.tokens - config.registers
        self.places = _vectors(self.patches if config.has_vectors else 0, config.width)
        self.moments = _vectors(config.window if config.has_vectors else 0, config.width)
        self.registers = _vectors(config.registers, config.width)
        self.blocks = nn.ModuleList(_build_block(config, site) for site in _sites(config, features, axes, stride))
        self.modulation = Modulation(config.width, 2, zero=config.zero_init)
        self.norm = build_norm(config.norm, config.width)
        self.output = PatchOutput(writes or channels, config.width, config.patch)
        if config.zero_init:
            nn.init.zeros_(self.output.project.weight)
            nn.init.zeros_(self.output.project.bias)

    def on_grid(self, rows: int, columns: int, pace: float) -> None:
        """See frames of another grid and pace from now on."""
        self.rows, self.patches = rows, rows * columns
        self.positions = self.positions.at(rows, columns, pace)
        self.views = replace(self.views, positions=self.positions)

    def tables_of(self, other: "FrameTransformer") -> dict[str, Tensor]:
        """Return another's learned vectors of places and moments, interpolated to this one's, where both have them."""
        tables: dict[str, Tensor] = {}
        if self.places is not None and other.places is not None:
            tables["places"] = regridded(other.places.detach(), other.positions.built, self.positions.built)
        if self.moments is not None and other.moments is not None:
            tables["moments"] = stretched(other.moments.detach(), len(self.moments))
        return tables

    def read_clip(
        self, frames: Float[Tensor, "b t channels h w"], cues: FrameCues
    ) -> tuple[Float[Tensor, "b t n c"], list[BlockKeys]]:
        """Run all frames at once; also return what the layers that look back offer to later frames."""
        count, device = frames.shape[1], frames.device
        views: dict[Axis, View] = {axis: self.views.of_clip(axis, count, device) for axis in set(self.axes)}
        return self._run(self._tokens(frames), cues, self.window.clip(count), views, None)

    def read_next(
        self, first: int, caches: Sequence[BlockCache], frames: Float[Tensor, "b k channels h w"], cues: FrameCues
    ) -> tuple[Float[Tensor, "b k n c"], list[BlockKeys]]:
        """Run a block, which starts with frame number `first`, after `caches`, which are only read.

        Also return the block's own keys and values.
        """
        count, device = frames.shape[1], frames.device
        span = self.window.next(first, count)
        views: dict[Axis, View] = {axis: self.views.of_next(axis, span.numbers, device) for axis in set(self.axes)}
        turns = self.views.sink_turns(self.looks_back, first + count, device)
        pasts = (cache.read(first, *turns) for cache in caches)
        return self._run(self._tokens(frames), cues, span, views, pasts)

    def read_forced(
        self, clean: Sequence[BlockKeys], total: int, frames: Float[Tensor, "b p channels h w"], cues: FrameCues
    ) -> Float[Tensor, "b p n c"]:
        """Run noisy frames in place of the last of `total`, each block behind what earlier `clean` ones offer."""
        first, device = total - frames.shape[1], frames.device
        span = self.window.clip(total)
        views: dict[Axis, View] = {axis: self.views.of_forced(axis, total, first, device) for axis in set(self.axes)}
        last = FrameSpan(span.numbers[first:], span.ends[first:])
        return self._run(self._tokens(frames), cues, last, views, iter(clean))[0]

    def remember(self, own: Sequence[BlockKeys]) -> list[BlockCache]:
        """Return the memory of a clip from what its layers offer."""
        tokens = self.views.tokens(self.looks_back)
        return [BlockCache.of_clip(keys, self.window, tokens) for keys in own]

    def read_out(self, tokens: Float[Tensor, "b t n c"], cues: FrameCues) -> Float[Tensor, "b t writes h w"]:
        """Return frames from the tokens that left the last block."""
        condition = cues.condition + cues.action if self.acts_in_output else cues.condition
        return self.output(modulate(self.norm(tokens[:, :, : self.patches]), *self.modulation(condition)), self.rows)

    def _tokens(self, frames: Float[Tensor, "b t channels h w"]) -> Float[Tensor, "b t n c"]:
        tokens = self.embed(frames.to(self.embed.project.weight.dtype))
        if self.places is not None:
            places = regridded(self.places, self.positions.built, self.positions.grid)
            tokens = tokens + places.to(tokens.dtype)
        if self.registers is None:
            return tokens
        registers = self.registers.to(tokens.dtype).expand(*tokens.shape[:2], -1, -1)
        return torch.cat([tokens, registers], 2)

    def _run(
        self,
        tokens: Float[Tensor, "b t n c"],
        cues: FrameCues,
        span: FrameSpan,
        views: Mapping[Axis, View],
        pasts: Iterator[BlockKeys] | None,
    ) -> tuple[Float[Tensor, "b t n c"], list[BlockKeys]]:
        """Run the blocks over these frames, after `pasts` if given, one for each layer that looks back."""
        own: list[BlockKeys] = []
        for block in cast("Iterable[TransformerBlock]", self.blocks):
            looks_back = block.axis != "space"
            if looks_back and not own and self.moments is not None:
                taken = self.moments[moments(self.positions.kind, self.window, span)]
                tokens = tokens + taken.unsqueeze(1).to(tokens.dtype)
            past = next(pasts) if looks_back and pasts is not None else None
            tokens, new = self._through(block, tokens, cues, views[block.axis], past)
            if looks_back:
                own.append(new)
        return tokens, own

    def _through(
        self,
        block: TransformerBlock,
        tokens: Float[Tensor, "b t n c"],
        cues: FrameCues,
        view: View,
        past: BlockKeys | None,
    ) -> tuple[Float[Tensor, "b t n c"], BlockKeys]:
        inputs = (tokens, cues.condition, cues.action, view, past)
        if not (self.checkpointing and torch.is_grad_enabled()):
            return block(*inputs)
        # `past` is safe to read again in the backward pass: under gradients a cache hands out copies.
        recompute = cast("Callable[..., tuple[Tensor, BlockKeys]]", checkpoint.checkpoint)
        return recompute(block, *inputs, use_reentrant=False, preserve_rng_state=False)


def _vectors(count: int, width: int) -> nn.Parameter | None:
    return nn.Parameter(TOKEN_STD * torch.randn(count, width)) if count else None


def _sites(config: FrameTransformerConfig, features: int, axes: int, stride: int) -> Iterator[BlockSite]:
    """Yield what an injection is told of every block."""
    for i, axis in enumerate(config.axes):
        yield BlockSite(
            width=config.width,
            heads=config.heads,
            axis=axis,
            index=config.axes[:i].count(axis),
            count=config.axes.count(axis),
            features=features,
            axes=axes,
            stride=stride,
        )


def _build_block(config: FrameTransformerConfig, site: BlockSite) -> TransformerBlock:
    return TransformerBlock(
        SelfAttention(config.width, config.heads, site.axis, qk_norm=config.qk_norm, scaled=config.scaled_logits),
        build_feed_forward(config.mlp, config.width, config.mlp_ratio, bias=config.mlp_bias),
        config.injection.build(site),
        config.width,
        norm=config.norm,
        zero_init=config.zero_init,
    )
