"""toy-wm: its network, and what its public weights mean."""

from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.level_embedding import LevelEmbeddingConfig


def toy_wm() -> DiffusionTransformerConfig:
    """Return toy-wm's network: 19,509,243 parameters for 24x24 colour frames and three actions.

    The memory keeps the frame that was shown; toy-wm keeps the last, half-denoised, input.
    """
    return DiffusionTransformerConfig(
        width=320,
        depth=8,
        heads=20,
        patch=3,
        window=30,
        layout="full",
        positions="flat",
        rope_base=5000.0,
        stem="conv",
        stem_kernel=5,
        registers=1,
        mlp_ratio=4.0,
        mlp_bias=True,
        norm="rms",
        scaled_logits=False,
        zero_init=False,
        level=LevelEmbeddingConfig(clock="floor"),
        target="flow",
    )
