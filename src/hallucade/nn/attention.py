"""Self-attention within frames, through time, or over both; one function decides which kernel computes it."""

import importlib.util
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.nn.frame_mask import FrameMask, attend_flex
from hallucade.nn.norm import RMSNorm
from hallucade.nn.rope import Rotation

Axis = Literal["space", "time", "both"]
Kernel = Literal["matmul", "fused", "flex"]

SHORT = 128  # keys; up to here two CPU matmuls beat the fused kernel, see benchmarks/attention.py
SHORT_HALF_BACKWARD = 2048  # keys; the fused CPU backward in half precision costs 5 to 10 times its forward
LONG = 1024  # keys; from here on an accelerator skips blocks that nothing sees: assumed, not measured yet
NARROW = 16  # head size; FlexAttention takes no less
HAS_TRITON = importlib.util.find_spec("triton") is not None  # FlexAttention is compiled with it


class KeysValues(NamedTuple):
    """What tokens offer to later queries; keys are normalised and rotated at their absolute position."""

    keys: Float[Tensor, "*groups heads k d"]
    values: Float[Tensor, "*groups heads k d"]


@dataclass(frozen=True)
class View:
    """Where the tokens of one pass stand and which of them see each other."""

    turn: Rotation | None = None  # of queries and keys; None: they have no positions
    mask: Bool[Tensor, "q k"] | FrameMask | None = None  # None: everything is seen
    sinks: Bool[Tensor, "k"] | None = None  # keys that are seen from `sink_turn`, if the pass outlasts the window
    sink_turn: Rotation | None = None  # of queries that look at sinks
    frames: Bool[Tensor, "f g"] | None = None  # which frames see each other; None: everything is seen
    actions: "View | None" = None  # of one key a frame that stands for its action, if these have positions


class SelfAttention(nn.Module):
    """Multi-head attention with rotary positions and RMS-normalised queries and keys.

    `axis` chooses the sequence: the tokens of a frame ("space"), one token through time ("time"), or all ("both").
    """

    def __init__(self, width: int, heads: int, axis: Axis, *, qk_norm: bool = True, scaled: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.axis: Axis = axis
        self.scale = (width // heads) ** -0.5 if scaled else 1.0
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm = RMSNorm(width // heads) if qk_norm else nn.Identity()
        self.key_norm = RMSNorm(width // heads) if qk_norm else nn.Identity()
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b t n c"], view: View, past: KeysValues | None = None
    ) -> tuple[Float[Tensor, "b t n c"], KeysValues]:
        """Attend, after `past` if given; also return this pass's own keys and values."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(3)
        q, k, v = self._fold(self.query_norm(q)), self._fold(self.key_norm(k)), self._fold(v)
        own = KeysValues(turned(k, view.turn).to(v.dtype), v)
        attended = look(q, joined(past, own), view, self.scale)
        return self.out(self._unfold(attended, x.shape[2])), own

    def _fold(self, x: Float[Tensor, "b t n heads d"]) -> Float[Tensor, "*groups heads k d"]:
        match self.axis:
            case "space":
                return x.transpose(2, 3)  # b t heads n d
            case "time":
                return x.permute(0, 2, 3, 1, 4)  # b n heads t d
            case "both":
                return x.flatten(1, 2).transpose(1, 2)  # b heads (t n) d

    def _unfold(self, x: Float[Tensor, "*groups heads q d"], tokens: int) -> Float[Tensor, "b t n c"]:
        match self.axis:
            case "space":
                return x.transpose(2, 3).flatten(3)
            case "time":
                return x.permute(0, 3, 1, 2, 4).flatten(3)
            case "both":
                return x.transpose(1, 2).reshape(x.shape[0], -1, tokens, x.shape[1] * x.shape[3])


def joined(past: KeysValues | None, own: KeysValues) -> KeysValues:
    """Return `own` after `past`."""
    if past is None:
        return own
    return KeysValues(torch.cat([past.keys, own.keys], -2), torch.cat([past.values, own.values], -2))


def look(
    q: Float[Tensor, "*groups heads q d"], seen: KeysValues, view: View, scale: float
) -> Float[Tensor, "*groups heads q e"]:
    """Attend with queries that `view` has yet to turn to keys that are turned."""
    keys, values = seen
    near = turned(q, view.turn).to(values.dtype)
    if view.sinks is None or view.sink_turn is None:
        return attend(near, keys, values, view.mask, scale)
    # One kernel, two distances: sinks answer to the second half of a doubled head, all other keys to the first.
    is_sink = view.sinks[:, None].to(keys.dtype)
    q = torch.cat([near, view.sink_turn(q).to(near.dtype)], -1)
    keys = torch.cat([keys * (1 - is_sink), keys * is_sink], -1)
    return attend(q, keys, values, view.mask, scale)


def turned(x: Float[Tensor, "*groups heads k d"], turn: Rotation | None) -> Float[Tensor, "*groups heads k d"]:
    """Rotate `x`, if there is a rotation."""
    return x if turn is None else turn(x)


def attend(
    q: Float[Tensor, "*lead b heads q d"],
    k: Float[Tensor, "*lead b heads k d"],
    v: Float[Tensor, "*lead b heads k e"],
    mask: Bool[Tensor, "q k"] | FrameMask | None = None,
    scale: float = 1.0,
) -> Float[Tensor, "*lead b heads q e"]:
    """Softmax attention by the kernel that suits; a matrix for a mask is True where a query sees a key."""
    head = min(q.shape[-1], v.shape[-1])
    grad, framed = torch.is_grad_enabled(), isinstance(mask, FrameMask)
    kernel = choose_kernel(q.device, q.dtype, k.shape[-2], head, grad=grad, framed=framed)
    if isinstance(mask, FrameMask):
        if kernel == "flex":
            return attend_flex(q, k, v, mask, scale)
        mask = mask.matrix()
    return (attend_by_matmul if kernel == "matmul" else attend_fused)(q, k, v, mask, scale)


def choose_kernel(
    device: torch.device, dtype: torch.dtype, keys: int, head: int, *, grad: bool, framed: bool
) -> Kernel:
    """Return what computes attention; benchmarks/attention.py measures it.

    Args:
        device: where it is computed.
        dtype: of queries, keys and values.
        keys: that there are.
        head: the least size of a head's queries, keys or values.
        grad: whether a backward pass may follow.
        framed: whether the mask is a `FrameMask`, which has a rule.
    """
    if device.type == "cpu":
        half_backward = grad and dtype != torch.float32
        return "matmul" if keys <= (SHORT_HALF_BACKWARD if half_backward else SHORT) else "fused"
    if framed and keys >= LONG and head >= NARROW and device.type != "mps" and HAS_TRITON:
        return "flex"
    return "fused"


def attend_by_matmul(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attend with two matrix products and a softmax between them."""
    logits = (q * scale) @ k.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(-1) @ v


def attend_fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attend with torch's fused kernel, which takes one batch axis."""
    flat = (x.flatten(0, -4) for x in (q, k, v))
    return F.scaled_dot_product_attention(*flat, attn_mask=mask, scale=scale).reshape(*q.shape[:-1], -1)
