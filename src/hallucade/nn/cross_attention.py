"""Attention from the tokens of frames to one vector a frame, such as the action that led there."""

from jaxtyping import Float
from torch import Tensor, nn

from hallucade.nn.attention import Axis, KeysValues, View, attend, joined


class FrameCrossAttention(nn.Module):
    """Multi-head attention from tokens to frames' vectors, without positions and without norms inside.

    In a layer within frames ("space") a token sees the vector of its own frame, and queries do not matter; in one that
    looks back it sees the vectors of all frames that its own frame sees.
    """

    def __init__(self, width: int, heads: int, axis: Axis) -> None:
        super().__init__()
        self.heads, self.axis = heads, axis
        self.scale = (width // heads) ** -0.5
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b t n c"],
        vectors: Float[Tensor, "b t c"],
        view: View,
        past: KeysValues | None = None,
    ) -> tuple[Float[Tensor, "b t n c"], KeysValues]:
        """Attend, after the frames of `past` if given; also return this pass's own keys and values."""
        q = self.q(x).unflatten(-1, (self.heads, -1))  # b t n heads d
        k, v = self.kv(vectors).unflatten(-1, (2, self.heads, -1)).unbind(2)  # b t heads d
        if self.axis == "space":
            own = KeysValues(k.unsqueeze(3), v.unsqueeze(3))
            attended = attend(q.transpose(2, 3), *own, None, self.scale).transpose(2, 3)
            return self.out(attended.flatten(3)), own
        own = KeysValues(k.transpose(1, 2), v.transpose(1, 2))
        mask = None if view.frames is None else view.frames.repeat_interleave(x.shape[2], 0)
        attended = attend(q.flatten(1, 2).transpose(1, 2), *joined(past, own), mask, self.scale)
        return self.out(attended.transpose(1, 2).reshape(x.shape)), own
