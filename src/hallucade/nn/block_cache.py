"""What a transformer block keeps of past frames: keys and values of their tokens, and of their actions if it asks."""

from dataclasses import dataclass
from typing import NamedTuple

from hallucade.nn.attention import KeysValues
from hallucade.nn.kv_cache import KVCache
from hallucade.nn.rope import Rotation
from hallucade.nn.window import FrameWindow


class BlockKeys(NamedTuple):
    """What a block offers to the queries of later frames."""

    tokens: KeysValues
    actions: KeysValues | None  # without positions


@dataclass(frozen=True)
class BlockCache:
    """One block's memory."""

    tokens: KVCache
    actions: KVCache | None

    @classmethod
    def of_clip(cls, clip: BlockKeys, window: FrameWindow, tokens: int) -> "BlockCache":
        """Keep what the window still sees after a clip; `tokens` are a frame's keys in one group."""
        actions = None if clip.actions is None else KVCache.of_clip(clip.actions, window, 1)
        return cls(KVCache.of_clip(clip.tokens, window, tokens), actions)

    def read(self, frames: int, sink_turn: Rotation | None) -> BlockKeys:
        """Return what frame number `frames` sees of the past; `sink_turn` moves the sinks nearer."""
        actions = None if self.actions is None else self.actions.read(frames, None)
        return BlockKeys(self.tokens.read(frames, sink_turn), actions)

    def write(self, frame: int, new: BlockKeys) -> "BlockCache":
        """Keep frame number `frame`; consumes this cache."""
        actions = self.actions
        if actions is not None and new.actions is not None:
            actions = actions.write(frame, new.actions)
        return BlockCache(self.tokens.write(frame, new.tokens), actions)

    def clone(self) -> "BlockCache":
        """Return an independent copy."""
        return BlockCache(self.tokens.clone(), None if self.actions is None else self.actions.clone())
