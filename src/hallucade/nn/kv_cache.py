"""Keys and values of the frames that a window still sees, in slots of constant size.

Under inference a frame is written into its slot in place, so that memory and time per frame are constant. Under
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
        """Return what frame number `frames` sees of the past; `sink_turn` moves the sinks nearer."""
        filled = min(frames, self.window.slots) * self.tokens
        keys, values = self.keys[..., :filled, :], self.values[..., :filled, :]
        if sink_turn is not None:
            sinks = self.window.sink * self.tokens
            turned = sink_turn(keys[..., :sinks, :]).to(keys.dtype)
            keys = torch.cat([turned, keys[..., sinks:, :]], -2)
        if torch.is_grad_enabled() and not self.keys.requires_grad:  # backward needs them as they are, and a later
            return KeysValues(keys.clone(), values.clone())  # frame may be written without gradients, in place
        return KeysValues(keys, values)

    def write(self, frame: int, new: KeysValues) -> "KVCache":
        """Keep frame number `frame`; consumes this cache."""
        start = self.window.slot(frame) * self.tokens
        if torch.is_grad_enabled() or self.keys.requires_grad:
            keys, values = (
                torch.slice_scatter(old, x.to(old.dtype), -2, start, start + self.tokens)
                for old, x in ((self.keys, new.keys), (self.values, new.values))
            )
            return KVCache(keys, values, self.window, self.tokens)
        self.keys[..., start : start + self.tokens, :] = new.keys
        self.values[..., start : start + self.tokens, :] = new.values
        return self

    def clone(self) -> "KVCache":
        """Return an independent copy."""
        return KVCache(self.keys.clone(), self.values.clone(), self.window, self.tokens)
