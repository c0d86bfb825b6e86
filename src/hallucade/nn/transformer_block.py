"""A transformer block conditioned a frame at a time: attention and a feed-forward layer, each modulated and gated."""

from jaxtyping import Float
from torch import Tensor, nn

from hallucade.nn.attention import Axis, SelfAttention, View
from hallucade.nn.block_cache import BlockKeys
from hallucade.nn.injection import ActionInjection
from hallucade.nn.modulation import Modulation, modulate
from hallucade.nn.norm import Norm, build_norm


class TransformerBlock(nn.Module):
    """x + gate * attention(modulated norm), then the same with the MLP; the action enters where its injection says."""

    def __init__(
        self,
        attention: SelfAttention,
        mlp: nn.Module,
        injection: ActionInjection,
        width: int,
        *,
        norm: Norm,
        zero_init: bool,
    ) -> None:
        super().__init__()
        self.modulation = Modulation(width, 6, zero=zero_init)
        self.attention_norm = build_norm(norm, width)
        self.attention = attention
        self.mlp_norm = build_norm(norm, width)
        self.mlp = mlp
        self.injection = injection

    @property
    def axis(self) -> Axis:
        """The sequence that this block attends over."""
        return self.attention.axis

    def forward(
        self,
        x: Float[Tensor, "b t n c"],
        condition: Float[Tensor, "b t c"],
        action: Float[Tensor, "b t d"],
        view: View,
        past: BlockKeys | None = None,
    ) -> tuple[Float[Tensor, "b t n c"], BlockKeys]:
        """Return the tokens and the keys and values that later frames may attend to."""
        x = self.injection.enter(x, action)
        parts = self.modulation(self.injection.condition(condition, action))
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.injection.modulate(parts, action)
        past_tokens, past_actions = (None, ()) if past is None else past
        attended, tokens = self.attention(modulate(self.attention_norm(x), shift, scale), view, past_tokens)
        x, between = self.injection.between(x + gate * attended, action, view, past_actions)
        x = x + mlp_gate * self.mlp(modulate(self.mlp_norm(x), mlp_shift, mlp_scale))
        x, leaving = self.injection.leave(x, action, view, past_actions)
        return x, BlockKeys(tokens, (*between, *leaving))
