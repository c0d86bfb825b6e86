"""Tokenizers to train on a store of one's own: codes, or small Gaussians."""

from collections.abc import Callable
from dataclasses import replace

from hallucade.data.recorder import RecordingConfig
from hallucade.recipes.tokenizer_run import TokenizerRunConfig
from hallucade.tokenizers.bottlenecks.fsq import FSQConfig
from hallucade.tokenizers.bottlenecks.gaussian import GaussianConfig
from hallucade.tokenizers.bottlenecks.lfq import LFQConfig
from hallucade.tokenizers.bottlenecks.residual_vq import ResidualVQConfig
from hallucade.tokenizers.bottlenecks.vector_quantizer import VQConfig
from hallucade.tokenizers.learned import LearnedTokenizerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer_config import TrainerConfig


def tokenizer_fsq() -> TokenizerRunConfig:
    """Codes by finite scalar quantisation, 8 pixels a side: 64 of 1,000 for a frame of 64x64. Nothing can collapse."""
    steps = 10_000
    return TokenizerRunConfig(
        recipe="tokenizer_fsq",
        recording=RecordingConfig(game="maze", frame_size=64, frames=200_000),
        tokenizer=LearnedTokenizerConfig(bottleneck=FSQConfig()),
        stages=(Stage(steps=steps, frames=2, batch=8),),
        trainer=TrainerConfig(
            steps=steps,
            optimizer=OptimizerConfig(learning_rate=2e-3, muon=False),
            schedule=WarmupStableDecayConfig(warmup=100, decay=0.3),
            ema=None,
        ),
        sample_every=1000,
    )


def tokenizer_vq() -> TokenizerRunConfig:
    """Codes by a codebook of 1,024 vectors that follows the encoder; codes that nothing uses start again."""
    return _other("tokenizer_vq", LearnedTokenizerConfig(bottleneck=VQConfig()))


def tokenizer_lfq() -> TokenizerRunConfig:
    """Codes of ten bits, each the sign of a channel."""
    return _other("tokenizer_lfq", LearnedTokenizerConfig(bottleneck=LFQConfig()))


def tokenizer_residual_vq() -> TokenizerRunConfig:
    """Two codes of 256 a cell, the second for what the first leaves over; needs vector-quantize-pytorch."""
    return _other("tokenizer_residual_vq", LearnedTokenizerConfig(bottleneck=ResidualVQConfig()))


def tokenizer_product_vq() -> TokenizerRunConfig:
    """Two codes of 256 a cell, each for half of the channels; needs vector-quantize-pytorch."""
    return _other("tokenizer_product_vq", LearnedTokenizerConfig(bottleneck=ResidualVQConfig(stages=1, groups=2)))


def tokenizer_kl() -> TokenizerRunConfig:
    """Four channels of floats for each 8x8 pixels, for diffusion models: a variational autoencoder."""
    return _other("tokenizer_kl", LearnedTokenizerConfig(bottleneck=GaussianConfig()))


def _other(recipe: str, tokenizer: LearnedTokenizerConfig) -> TokenizerRunConfig:
    return replace(tokenizer_fsq(), recipe=recipe, tokenizer=tokenizer)


TOKENIZERS: dict[str, Callable[[], TokenizerRunConfig]] = {
    "tokenizer_fsq": tokenizer_fsq,
    "tokenizer_vq": tokenizer_vq,
    "tokenizer_lfq": tokenizer_lfq,
    "tokenizer_residual_vq": tokenizer_residual_vq,
    "tokenizer_product_vq": tokenizer_product_vq,
    "tokenizer_kl": tokenizer_kl,
}
