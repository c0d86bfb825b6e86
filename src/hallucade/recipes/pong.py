"""Pong: the demo, the bundled model, and toy-wm's architecture."""

from dataclasses import replace

from hallucade.data.clips import Focus
from hallucade.data.recorder import RecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.models.toy_wm import toy_wm
from hallucade.models.unet import UNetConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.next_frame import NextFrameConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.ema import EMAConfig
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import CosineScheduleConfig, WarmupStableDecayConfig
from hallucade.training.trainer_config import TrainerConfig

CONTACTS = Focus(changes=("ball_vx",), avoids=("serves",), share=0.5, lead=8)  # the ball meets a paddle


def pong_micro() -> RunConfig:
    """Pong from nothing in minutes on two CPU cores: the demo."""
    return RunConfig(
        recipe="pong_micro",
        recording=RecordingConfig(frames=150_000),
        model=_network(),
        objective=_next_frame(),
        stages=(Stage(steps=2400, frames=9, batch=64),),
        focus=CONTACTS,
        trainer=TrainerConfig(
            steps=2400,
            compile=True,
            optimizer=_optimizer(),
            schedule=WarmupStableDecayConfig(warmup=100, decay=0.7),
        ),
        sample_every=800,
    )


def pong() -> RunConfig:
    """The bundled Pong: the same network, trained longer, then through eight of its own frames at a time."""
    return RunConfig(
        recipe="pong",
        recording=RecordingConfig(frames=500_000),
        model=_network(),
        objective=replace(
            _next_frame(),
            levels=LogitNormalLevels(pure_noise_share=0.7),
            through_time=True,
            tolerance=0.5,
            motion_weight=9.0,
        ),
        stages=(Stage(steps=4000, frames=9, batch=64), Stage(steps=4000, frames=16, batch=32)),
        focus=CONTACTS,
        trainer=TrainerConfig(
            steps=8000,
            compile=True,
            optimizer=_optimizer(),
            schedule=WarmupStableDecayConfig(warmup=200, decay=0.75),
        ),
        sample_every=2000,
    )


def pong_transformer() -> RunConfig:
    """Pong on a small transformer whose patches look at all patches of the last eight frames.

    A ball crosses from patch to patch, so the layers that look back do so over space and time at once.
    """
    return RunConfig(
        recipe="pong_transformer",
        recording=RecordingConfig(frames=500_000),
        model=DiffusionTransformerConfig(patch=6, window=8, layout="full", context_level=0.05),
        objective=DiffusionForcingConfig(
            levels=LogitNormalLevels(pure_noise_share=0.5), loss_space="x", clean_share=0.8, motion_weight=4.0
        ),
        stages=(Stage(steps=3000, frames=12, batch=32),),
        focus=replace(CONTACTS, lead=0),
        trainer=TrainerConfig(
            steps=3000,
            optimizer=OptimizerConfig(learning_rate=1e-3, muon_learning_rate=1e-2),
            schedule=WarmupStableDecayConfig(warmup=100, decay=0.5),
        ),
        sample_every=1000,
    )


def pong_toy_wm() -> RunConfig:
    """toy-wm's architecture and hyperparameters, 19,509,243 parameters, on Pong: for a GPU.

    Ours where theirs is a defect or our convention differs: float32 master weights under bf16 autocast, an average of
    the weights, and a cache of what was shown. Source: github.com/wendlerc/toy-wm, configs/default.yaml.
    """
    return RunConfig(
        recipe="pong_toy_wm",
        recording=RecordingConfig(frames=1_000_000),
        model=toy_wm(),
        objective=DiffusionForcingConfig(
            levels=LogitNormalLevels(), loss_space="flow", clean_share=0.0, context_noise=0.0, action_dropout=0.2
        ),
        sampler=FlowSamplerConfig(steps=4, shift=3.0),
        stages=(Stage(steps=2500, frames=30, batch=64),),
        trainer=TrainerConfig(
            steps=2500,
            optimizer=OptimizerConfig(
                learning_rate=3e-4, muon_learning_rate=2e-2, betas=(0.9, 0.95), weight_decay=1e-5
            ),
            schedule=CosineScheduleConfig(warmup=100),
            clip_norm=10.0,
            ema=EMAConfig(),
        ),
    )


def _network() -> UNetConfig:
    return UNetConfig(context=8, widths=(48, 96), blocks=(1, 2))


def _optimizer() -> OptimizerConfig:
    return OptimizerConfig(learning_rate=1e-3, muon_learning_rate=2e-2)


def _next_frame() -> NextFrameConfig:
    """Half of all frames start from pure noise, as one-step play does; what moves counts five times."""
    return NextFrameConfig(
        levels=LogitNormalLevels(pure_noise_share=0.5), loss_space="x", context_noise=0.1, motion_weight=4.0
    )
