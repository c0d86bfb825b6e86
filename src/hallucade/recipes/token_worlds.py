"""World models of codes: a tokenizer is trained first, and named."""

from dataclasses import replace

from hallucade.models.conv_gru import TokenConvGRUConfig
from hallucade.models.raster_transformer import RasterTransformerConfig
from hallucade.models.token_transformer import TokenTransformerConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.objectives.masked_tokens import MaskedTokensConfig
from hallucade.objectives.raster_tokens import RasterTokensConfig
from hallucade.objectives.self_conditioned_tokens import SelfConditionedTokensConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling, UnrollRamp
from hallucade.recipes.any_game import unet_small
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.maskgit import MaskGITSamplerConfig
from hallucade.samplers.raster import RasterSamplerConfig
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


def token_raster_small() -> RunConfig:
    """Draws its frames cell by cell, each code after those before it: `hallucade train token_raster_small`.

    It needs a tokenizer, as `token_small` does, and has its network of frames; a second one of two blocks runs from
    cell to cell.
    """
    return replace(
        token_small(),
        recipe="token_raster_small",
        model=RasterTransformerConfig(width=128, depth=6, heads=4, window=16),
        objective=RasterTokensConfig(),
        sampler=RasterSamplerConfig(),
    )


def token_independent_small() -> RunConfig:
    """`token_small` whose cells are drawn in one step, each by itself, and which learns nothing else.

    Many token models draw so. Where the future is open its neighbours do not agree: it is here to be compared with.
    """
    return replace(
        token_small(),
        recipe="token_independent_small",
        objective=MaskedTokensConfig(all_share=1.0),
        sampler=MaskGITSamplerConfig(steps=1),
    )


def token_self_conditioned() -> RunConfig:
    """`token_small` that learns from its own frames too: each step draws the clip's past before it is graded.

    The share of true frames in the past falls to one half around the middle of the training.
    """
    return replace(
        token_small(),
        recipe="token_self_conditioned",
        objective=SelfConditionedTokensConfig(truth=ScheduledSampling(middle=3000, slope=600.0, least=0.5)),
    )


def token_gru_small() -> RunConfig:
    """A recurrent model of codes that trains on its own frames: `hallucade train token_gru_small --latents CACHE`.

    It needs a tokenizer, as `token_small` does. Whatever is played, a frame costs the same: its memory is three layers
    of the size of a frame of codes. From step 1000 on a clip's last frames are the model's own, up to twelve of twenty,
    and ever fewer of them the true ones after all.
    """
    return replace(
        token_small(),
        recipe="token_gru_small",
        model=TokenConvGRUConfig(),
        objective=AutoregressiveTokensConfig(
            all_share=0.3,
            unroll=UnrollRamp(start=1000, steps=3000, most=12),
            truth=ScheduledSampling(middle=3000, slope=800.0),
            own=MaskGITSamplerConfig(steps=4),
        ),
    )
