"""Doom in third person by stages: small pictures, large ones, then long clips, with as many tokens in every step."""

from dataclasses import replace

from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.recipes.any_game import transformer_small
from hallucade.recipes.games3d import doom_third_person_small
from hallucade.recipes.run_config import RunConfig
from hallucade.training.curriculum import Stage

TOKENS = 20_480  # in a step: 32 clips of eight small pictures, 8 of large ones, 2 of 32 large ones


def doom_stages() -> RunConfig:
    """Doom over the marine's shoulder: 32 x 40 pixels first, then 64 x 80, then clips twice as long as the memory."""
    base, play = transformer_small(), doom_third_person_small()
    stages = (
        Stage(size=(32, 40), frames=8, steps=4000, tokens=TOKENS),
        Stage(size=(64, 80), frames=8, steps=2000, tokens=TOKENS),
        Stage(size=(64, 80), frames=32, steps=1000, tokens=TOKENS, lr=base.trainer.optimizer.learning_rate / 2),
    )
    return replace(
        base,
        recipe="doom_stages",
        recording=play.recording,
        model=DiffusionTransformerConfig(patch=4, window=16, context_level=0.05),
        stages=stages,
        trainer=replace(base.trainer, steps=sum(stage.steps for stage in stages)),
    )
