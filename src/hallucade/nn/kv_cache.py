"""Keys and values of the frames that a window still sees, in slots of constant size.

Under inference a block is written into its slots in place, so that memory and time per frame are constant. Under
autograd the same write returns a new buffer, because what backward saved must not change.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hallucade.nn.attention import KeysValues
from hallucade.nn.rope import Rotation
from hallucade.nn.window import FrameWindow


@dataclass(frozen=True)
class KVCache:
    """One layer's memory: sinks first, then a ring; `s` = window.slots * tokens.

    Slots keep the order of writing, not of time: keys carry their own position, so attention does not care.
    """

    keys: Float[Tensor, "*groups heads s d"]
    values: Float[Tensor, "*groups heads s d"]
    window: FrameWindow
    tokens: int  # a frame's keys in one group: 1 through time, all of a frame's over space and time

    @classmethod
    def of_clip(cls, clip: KeysValues, window: FrameWindow, tokens: int) -> "KVCache":
        """Keep what the window still sees after a clip; a clip of no frames gives an empty memory."""
        held = window.held(clip.keys.shape[-2] // tokens)
        first = torch.tensor(held, dtype=torch.long, device=clip.keys.device)[:, None] * tokens
        index = (first + torch.arange(tokens, device=first.device)).flatten()
        free = (window.slots - len(held)) * tokens
        keys, values = (F.pad(x.index_select(-2, index), (0, 0, 0, free)) for x in clip)
        return cls(keys, values, window, tokens)

    def read(self, frames: int, sink_turn: Rotation | None) -> KeysValues:
        """Return what the block that starts with frame number `frames` sees; `sink_turn` moves the sinks nearer."""
        filled = min(frames, self.window.slots) * self.tokens
        keys, values = self.keys[..., :filled, :], self.values[..., :filled, :]
        if sink_turn is not None:
            sinks = self.window.sink * self.tokens
            turned = sink_turn(keys[..., :sinks, :]).to(keys.dtype)
            keys = torch.cat([turned, keys[..., sinks:, :]], -2)
        if torch.is_grad_enabled() and not self.keys.requires_grad:  # backward needs them as they are, and a later
            return KeysValues(keys.clone(), values.clone())  # frame may be written without gradients, in place
        return KeysValues(keys, values)

    def write(self, first: int, new: KeysValues) -> "KVCache":
        """Keep the frames of a block, the first of number `first`; consumes this cache.

        A block that is written twice leaves what the second write alone would have left.
        """
        written = self.clone() if torch.is_grad_enabled() or self.keys.requires_grad else self
        for frame in self.window.kept(first, first + new.keys.shape[-2] // self.tokens):
            slot, place = self.window.slot(frame) * self.tokens, (frame - first) * self.tokens
            written.keys[..., slot : slot + self.tokens, :] = new.keys[..., place : place + self.tokens, :]
            written.values[..., slot : slot + self.tokens, :] = new.values[..., place : place + self.tokens, :]
        return written

    def clone(self) -> "KVCache":
        """Return an independent copy."""
        return KVCache(self.keys.clone(), self.values.clone(), self.window, self.tokens)
