"""Keys and mouse as Matrix-Game 2 injects them: two attentions through time, after a block's own.

Both hear of every single action of the last latents. The mouse changes what each place of the picture shows, so its
movements join that place's features, which then attend to the same place in the past. Keys stand beside the picture:
places ask the keys of the frames that they see. Both start as the identity, by projections of zero behind them; these
learn from the first step on, and what is before them from the second.

Source: He et al. 2025, arXiv:2508.13009, after GameFactory (Yu et al. 2025, arXiv:2501.08325).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.nn.attention import KeysValues, View, joined, look
from hallucade.nn.injection import ActionInjection, BlockSite, FrameClock, InjectionConfig, Kept
from hallucade.nn.norm import RMSNorm


@dataclass(frozen=True, kw_only=True)
class KeyboardMouseInjectionConfig(InjectionConfig):
    """Buttons and choices enter as keys, axes as a mouse; a game without one of them has no layers for it.

    In the factorised layout, layers through time carry it.

    Raises:
        ValueError: names the size that does not fit and the remedy.
    """

    embeds: ClassVar[bool] = True

    window: int = 3  # latents whose actions a latent is told of, its own included
    blocks: int | None = None  # how many blocks that look back carry it, from the first; None for half of them
    width: int | None = None  # of its attentions; None for the model's
    heads: int | None = None  # of its attentions; None for the model's
    key_features: int = 32  # of the keys of one frame
    turning: int = 8  # features of a head that turn with time, at most; the others stand still
    base: float = 256.0  # of their rotation

    def __post_init__(self) -> None:
        for name in ("window", "blocks", "width", "heads", "key_features"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; use 1 or more")
        if self.turning < 2 or self.turning % 2:
            raise ValueError(f"turning is {self.turning}; features turn in pairs, so use an even number of 2 or more")

    @property
    def reach(self) -> int:
        return self.window

    def clock(self, width: int, heads: int) -> FrameClock:
        own_width, own_heads = self.width or width, self.heads or heads
        if own_width % own_heads or own_width // own_heads % 2:
            raise ValueError(
                f"width {own_width} of the keyboard and mouse over {own_heads} heads is {own_width / own_heads:g} "
                "a head; rotary positions need an even number"
            )
        pairs = own_width // own_heads // 2
        turning = min(self.turning // 2, pairs)
        return FrameClock(turning, pairs - turning, self.base)

    def build(self, site: BlockSite) -> ActionInjection:
        if site.axis == "space":
            return ActionInjection()
        carriers = math.ceil(site.count / 2) if self.blocks is None else self.blocks
        if carriers > site.count:
            raise ValueError(
                f"{carriers} blocks are to carry the keyboard and mouse; {site.count} look back, so use up to that"
            )
        return KeyboardMouseInjection(self, site) if site.index < carriers else ActionInjection()


MATRIX_GAME_2 = KeyboardMouseInjectionConfig(blocks=15, width=1024, heads=16, key_features=128)


class KeyboardMouseInjection(ActionInjection):
    """First the mouse, then the keys, each added to the tokens."""

    def __init__(self, config: KeyboardMouseInjectionConfig, site: BlockSite) -> None:
        super().__init__()
        self.frames = config.window * site.stride  # whose actions a latent is told of
        self.keys, self.axes = site.features - site.axes, site.axes  # features of one action
        width, heads = config.width or site.width, config.heads or site.heads
        self.mouse = MouseAttention(site.width, self.frames * self.axes, width, heads) if self.axes else None
        self.keyboard = (
            KeyboardAttention(site.width, self.keys, self.frames, config.key_features, width, heads)
            if self.keys
            else None
        )

    def between(
        self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t d"], view: View, past: Kept
    ) -> tuple[Float[Tensor, "b t n c"], Kept]:
        assert view.actions is not None
        pressed = action.reshape(*action.shape[:2], self.frames, -1)  # b t frames a
        keys, moves = pressed[..., : self.keys], pressed[..., self.keys :].flatten(2)
        kept: list[KeysValues] = []
        if self.mouse is not None:
            change, own = self.mouse(x, moves, view.actions, past[0] if past else None)
            x = x + change
            kept.append(own)
        if self.keyboard is not None:
            change, own = self.keyboard(x, keys, view.actions, past[-1] if past else None)
            x = x + change
            kept.append(own)
        return x, tuple(kept)


class MouseAttention(nn.Module):
    """Each place attends to itself in the past, where its features are mixed with how the mouse moved."""

    def __init__(self, model_width: int, moves: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Sequential(
            nn.Linear(model_width + moves, width),
            nn.GELU(approximate="tanh"),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = RMSNorm(width // heads), RMSNorm(width // heads)
        self.out = _silent(width, model_width)

    def forward(
        self, x: Float[Tensor, "b t n c"], moves: Float[Tensor, "b t m"], view: View, past: KeysValues | None
    ) -> tuple[Float[Tensor, "b t n c"], KeysValues]:
        """Return the change of the tokens, and this pass's own keys and values `b n heads t d`."""
        everywhere = moves.unsqueeze(2).expand(-1, -1, x.shape[2], -1)
        mixed = self.mix(torch.cat([x, everywhere.to(x.dtype)], -1))
        q, k, v = self.qkv(mixed).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 2, 4, 1, 5)  # 3 b n heads t d
        own = _kept(self.key_norm(k), v, view)
        attended = look(self.query_norm(q), joined(past, own), view, q.shape[-1] ** -0.5)
        return self.out(attended.permute(0, 3, 1, 2, 4).flatten(3)), own


class KeyboardAttention(nn.Module):
    """Places attend to the keys that led to the frames that they see; a memory holds one set of keys for all places."""

    def __init__(self, model_width: int, keys: int, frames: int, key_features: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Sequential(nn.Linear(keys, key_features), nn.SiLU(), nn.Linear(key_features, key_features))
        self.q = nn.Linear(model_width, width, bias=False)
        self.kv = nn.Linear(frames * key_features, 2 * width, bias=False)
        self.query_norm, self.key_norm = RMSNorm(width // heads), RMSNorm(width // heads)
        self.out = _silent(width, model_width)

    def forward(
        self, x: Float[Tensor, "b t n c"], keys: Float[Tensor, "b t frames k"], view: View, past: KeysValues | None
    ) -> tuple[Float[Tensor, "b t n c"], KeysValues]:
        """Return the change of the tokens, and this pass's own keys and values `b heads t d`."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1, 4)  # b n heads t d
        k, v = self.kv(self.embed(keys).flatten(2)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        own = _kept(self.key_norm(k), v, view)
        everywhere = (part.unsqueeze(1).expand(-1, x.shape[2], -1, -1, -1) for part in joined(past, own))
        attended = look(self.query_norm(q), KeysValues(*everywhere), view, q.shape[-1] ** -0.5)
        return self.out(attended.permute(0, 3, 1, 2, 4).flatten(3)), own


def _kept(keys: Tensor, values: Tensor, view: View) -> KeysValues:
    assert view.turn is not None
    return KeysValues(view.turn(keys).to(values.dtype), values)


def _silent(width: int, out: int) -> nn.Linear:
    """Return a projection that starts at zero."""
    layer = nn.Linear(width, out, bias=False)
    nn.init.zeros_(layer.weight)
    return layer
