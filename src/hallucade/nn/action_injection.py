"""The ways an action enters a transformer block; keys and mouse with windows of their own are in `keyboard_mouse`.

Source: the ablations of NanoWM; FiLM is Perez et al. 2018 (arXiv:1709.07871).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.nn.attention import Axis, View
from hallucade.nn.cross_attention import FrameCrossAttention
from hallucade.nn.injection import ActionInjection, BlockSite, InjectionConfig, Kept, Parts
from hallucade.nn.keyboard_mouse import KeyboardMouseInjectionConfig as KeyboardMouseInjectionConfig
from hallucade.nn.modulation import Modulation
from hallucade.nn.norm import build_norm


@dataclass(frozen=True, kw_only=True)
class JoinedInjectionConfig(InjectionConfig):
    """The action is added to the noise level's vector, for every block and the output (toy-wm)."""

    in_output: ClassVar[bool] = True

    def build(self, site: BlockSite) -> "FusedInjection":
        return FusedInjection()


@dataclass(frozen=True, kw_only=True)
class FusedInjectionConfig(InjectionConfig):
    """The action is added to the noise level's vector, for every block but not the output (NanoWM's adaln_fuse)."""

    def build(self, site: BlockSite) -> "FusedInjection":
        return FusedInjection()


class FusedInjection(ActionInjection):
    """The adaptive norms hear of level and action at once; no parameters."""

    def condition(self, condition: Float[Tensor, "b t c"], action: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        return condition + action


@dataclass(frozen=True, kw_only=True)
class AdditiveInjectionConfig(InjectionConfig):
    """The action is added to every token at the entry of every block."""

    def build(self, site: BlockSite) -> "AdditiveInjection":
        return AdditiveInjection()


class AdditiveInjection(ActionInjection):
    """Tokens carry the action; no parameters."""

    def enter(self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t c"]) -> Float[Tensor, "b t n c"]:
        return x + action.unsqueeze(2)


@dataclass(frozen=True, kw_only=True)
class AdaLNInjectionConfig(InjectionConfig):
    """The action has adaptive norms of its own, added to those of the noise level."""

    def build(self, site: BlockSite) -> "AdaLNInjection":
        return AdaLNInjection(site.width)


class AdaLNInjection(ActionInjection):
    """Shifts, scales and gates from the action; zero at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 6, zero=True)

    def modulate(self, parts: Parts, action: Float[Tensor, "b t c"]) -> Parts:
        return tuple(part + own for part, own in zip(parts, self.modulation(action), strict=True))


@dataclass(frozen=True, kw_only=True)
class FiLMInjectionConfig(InjectionConfig):
    """The action scales and shifts the tokens between attention and MLP."""

    def build(self, site: BlockSite) -> "FiLMInjection":
        return FiLMInjection(site.width)


class FiLMInjection(ActionInjection):
    """A scale, then a shift, from the action; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 2, zero=True)

    def between(
        self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t c"], view: View, past: Kept
    ) -> tuple[Float[Tensor, "b t n c"], Kept]:
        scale, shift = self.modulation(action)
        return (1 + scale) * x + shift, ()


@dataclass(frozen=True, kw_only=True)
class CrossAttentionInjectionConfig(InjectionConfig):
    """Tokens attend to the actions of the frames that they see, at the end of every block."""

    def build(self, site: BlockSite) -> "CrossAttentionInjection":
        return CrossAttentionInjection(site.width, site.heads, site.axis)


class CrossAttentionInjection(ActionInjection):
    """Gated attention to actions; the identity at first.

    Only the gate starts at zero: NanoWM starts with the projection behind the attention at zero too, and then the
    gradients of both are zero for good.
    """

    def __init__(self, width: int, heads: int, axis: Axis) -> None:
        super().__init__()
        self.norm = build_norm("layer", width)
        self.attention = FrameCrossAttention(width, heads, axis)
        self.gate = nn.Parameter(torch.zeros(width))

    def leave(
        self, x: Float[Tensor, "b t n c"], action: Float[Tensor, "b t c"], view: View, past: Kept
    ) -> tuple[Float[Tensor, "b t n c"], Kept]:
        attended, own = self.attention(self.norm(x), action, view, past[0] if past else None)
        return x + self.gate * attended, (own,)
