"""World models of codes: a tokenizer is trained first, and named."""

from dataclasses import replace

from hallucade.models.token_transformer import TokenTransformerConfig
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.recipes.any_game import unet_small
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.training.curriculum import Stage


def token_small() -> RunConfig:
    """A transformer of codes that fills a frame in eight steps: `hallucade train token_small --latents CACHE`.

    It needs a tokenizer: `hallucade train tokenizer_fsq`, then `hallucade tokenize STORE CACHE --tokenizer RUN`. For 64
    codes a frame it has 2.1 million parameters and looks back 16 frames.
    """
    base = unet_small()
    return replace(
        base,
        recipe="token_small",
        model=TokenTransformerConfig(width=128, depth=6, heads=4, window=16),
        objective=MaskedTokensConfig(),
        sampler=MaskGITSamplerConfig(),
        stages=(Stage(steps=6000, frames=20, batch=16),),
    )
