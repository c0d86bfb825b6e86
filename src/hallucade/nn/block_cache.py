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
    actions: tuple[KeysValues, ...]  # as many as the block's injection keeps


@dataclass(frozen=True)
class BlockCache:
    """One block's memory."""

    tokens: KVCache
    actions: tuple[KVCache, ...]

    @classmethod
    def of_clip(cls, clip: BlockKeys, window: FrameWindow, tokens: int) -> "BlockCache":
        """Keep what the window still sees after a clip; `tokens` are a frame's keys in one group."""
        actions = tuple(KVCache.of_clip(kept, window, 1) for kept in clip.actions)
        return cls(KVCache.of_clip(clip.tokens, window, tokens), actions)

    def read(self, frames: int, sink_turn: Rotation | None, action_turn: Rotation | None = None) -> BlockKeys:
        """Return what the block that starts with frame number `frames` sees; the rotations move sinks nearer."""
        actions = tuple(cache.read(frames, action_turn) for cache in self.actions)
        return BlockKeys(self.tokens.read(frames, sink_turn), actions)

    def write(self, first: int, new: BlockKeys) -> "BlockCache":
        """Keep frames that were read together, the first of number `first`; consumes this cache."""
        actions = tuple(cache.write(first, kept) for cache, kept in zip(self.actions, new.actions, strict=True))
        return BlockCache(self.tokens.write(first, new.tokens), actions)

    def clone(self) -> "BlockCache":
        """Return an independent copy."""
        return BlockCache(self.tokens.clone(), tuple(cache.clone() for cache in self.actions))
