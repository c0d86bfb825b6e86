"""The losses and the curriculum of project-ochre, version 4.5.2, with its reductions put right: to be compared with.

Every weight is its own. What differs is that each loss is a mean over cells: its temporal loss was a sum over those of
a frame, its neighbourhood loss took code 0 for right at every border, and its one coin decided for a whole batch
whether the next frame was true. The curriculum's steps are a fifth of its own.
"""

from dataclasses import replace

from hallucade.models.conv_gru import TokenConvGRUConfig
from hallucade.objectives.autoregressive_tokens import AutoregressiveTokensConfig
from hallucade.objectives.token_losses.cross_entropy import CrossEntropyLossConfig
from hallucade.objectives.token_losses.entropy_floor import EntropyFloorLossConfig
from hallucade.objectives.token_losses.neighbourhood import NeighbourhoodLossConfig
from hallucade.objectives.token_losses.semantic import SemanticLossConfig
from hallucade.objectives.token_losses.sharpness import SharpnessLossConfig
from hallucade.objectives.token_losses.temporal_consistency import TemporalConsistencyLossConfig
from hallucade.objectives.token_losses.weighted import TokenLossesConfig
from hallucade.objectives.unroll_curriculum import ScheduledSampling, UnrollRamp
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.token_worlds import token_gru_small
from hallucade.samplers.categorical import CodeChoice
from hallucade.samplers.maskgit import MaskGITSamplerConfig

V452_LOSSES = TokenLossesConfig(
    cross_entropy=CrossEntropyLossConfig(weight=0.0),
    neighbourhood=NeighbourhoodLossConfig(weight=2.0, exact=0.3),
    semantic=SemanticLossConfig(weight=3.0),
    entropy_floor=EntropyFloorLossConfig(weight=0.1, floor=4.5),
    sharpness=SharpnessLossConfig(weight=0.3),
    temporal_consistency=TemporalConsistencyLossConfig(weight=0.1, still=False),
)


def token_gru_v452() -> RunConfig:
    """`token_gru_small` with the losses, curriculum and cells by themselves of project-ochre, version 4.5.2.

    It needs a tokenizer, as `token_small` does.
    """
    return replace(
        token_gru_small(),
        recipe="token_gru_v452",
        model=TokenConvGRUConfig(fill=0),
        objective=AutoregressiveTokensConfig(
            corruption=0.0,
            unroll=UnrollRamp(start=0, steps=2000, most=18),
            truth=ScheduledSampling(middle=2000, slope=800.0, least=0.15),
            own=MaskGITSamplerConfig(steps=1, choice=CodeChoice(temperature=0.0)),
            losses=V452_LOSSES,
        ),
        sampler=MaskGITSamplerConfig(steps=1, choice=CodeChoice(temperature=1.05, top_k=32)),
    )
