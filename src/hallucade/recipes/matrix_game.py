"""Matrix-Game 2 at its public size: a teacher of whole clips, and its way to a student that plays in four steps.

Four runs, each starting from the one before (`docs/large-models.md` has the commands):

1. `matrix_game_teacher`: a bidirectional network, one noise level a clip.
2. `matrix_game_causal`: its weights made causal, blocks of three latents, a level a block.
3. `matrix_game_self_forcing`: four steps at 1000, 750, 500, 250 of 1000, shifted by 5, taught by the teacher on nine
   latents that the student draws itself.
4. `matrix_game_streaming`: the same on sequences of 39 latents, in chunks of nine with three of overlap.

As published: 30 blocks of width 1536 with 12 heads, keys and mouse in the first 15 (16 heads of 64, three latents
back), patches of 2 x 2 latents, a window of six latents with one sink, latents of 16 channels at an eighth of 352 x 640
pixels. Ours where this package has something else or nothing:

- **No video autoencoder.** The public one makes a latent of four frames; here every frame is a latent of its own, of
  any image autoencoder with 16 channels at an eighth. So 33 channels enter the network instead of 36 (one of mask
  instead of four), and a latent hears of three actions instead of twelve. `matrix_game_model(stride=4)` is the public
  shape, for whoever brings such an autoencoder.
- **No cross-attention to image tokens.** The first frame enters by channels alone; the public network also reads 257
  CLIP tokens of it in every block.
- Adaptive norms have a projection in each block, and not one for all with a table a block: 425 million parameters more.
- Queries and keys are normalised head by head. The other latents' image channels hold zeros, not encoded black frames.
- The teacher is trained from here on; the public one starts from Wan 2.1, whose weights this network cannot take.

Source: He et al. 2025, arXiv:2508.13009; Wan 2.1, arXiv:2503.20314; FastVideo's configurations; Huang et al. 2025,
arXiv:2506.08009.
"""

from hallucade.data.importers.matrix_game_keys import Controls
from hallucade.diffusion.timesteps import LevelConfig, UniformLevels
from hallucade.diffusion.weighting import BellWeight
from hallucade.methods.base import MethodConfig
from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.methods.streaming_long_tuning import StreamingLongTuningConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.nn.keyboard_mouse import MATRIX_GAME_2
from hallucade.objectives.base import ObjectiveConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.ema import EMAConfig
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig
from hallucade.training.trainer_config import TrainerConfig

SIZE = (352, 640)  # pixels
LATENT = (16, 44, 80)  # channels, rows, columns
PROMPT, BLOCK, CHUNK, HORIZON = 1, 3, 9, 39  # latents
SHIFT = 5.0
AUTOENCODER = "an image autoencoder of 16 channels at an eighth of the size"
KEYS = Controls(keyboard=4, mouse=True, names=(), degrees=5.0, reach=0.1).actions
IMPORT = f"hallucade import matrix-game FOLDER {{store}} --size {SIZE[0]} {SIZE[1]}"


def matrix_game_model(*, causal: bool = True, stride: int = 1) -> DiffusionTransformerConfig:
    """Return the network; of `stride` 4 it is the public one, as far as this package has its parts."""
    return DiffusionTransformerConfig(
        width=1536,
        depth=30,
        heads=12,
        patch=2,
        attention="causal" if causal else "bidirectional",
        block=BLOCK if causal else 1,
        window=2 * BLOCK,
        sink=1 if causal else 0,
        layout="full",
        positions="video",
        mlp="gelu",
        mlp_ratio=35 / 6,  # 8960 hidden units
        mlp_bias=True,
        injection=MATRIX_GAME_2,
        checkpointing=True,
        target="flow",
        stride=stride,
        image_condition="first_frame",
    )


def matrix_game_teacher() -> RunConfig:
    """Matrix-Game 2's network over whole clips, 1.9 billion parameters, to teach the recipes that follow."""
    return _run(
        "matrix_game_teacher",
        causal=False,
        steps=60_000,
        objective=_denoising(UniformLevels(shift=SHIFT, per="clip")),
        sampler=ClipwiseSamplerConfig(joint=JointSamplerConfig(steps=50, shift=SHIFT), clip=CHUNK),
        learning_rate=2e-5,
    )


def matrix_game_causal() -> RunConfig:
    """Matrix-Game 2 made causal, three latents at a time: `--start` takes the teacher."""
    return _run(
        "matrix_game_causal",
        steps=60_000,
        objective=_denoising(UniformLevels(shift=SHIFT)),
        sampler=FlowSamplerConfig(steps=50, shift=SHIFT),
        learning_rate=2e-5,
    )


def matrix_game_self_forcing() -> RunConfig:
    """Matrix-Game 2 in four steps, taught on clips that it plays itself: `--start` takes the causal run."""
    return _run(
        "matrix_game_self_forcing",
        steps=1_000,
        method=SelfForcingConfig(prompt=PROMPT, student_every=5, matching=DistributionMatchingConfig(shift=SHIFT)),
        learning_rate=3e-6,
        critic_rate=3e-7,
    )


def matrix_game_streaming() -> RunConfig:
    """Matrix-Game 2 over sequences of 39 latents, in chunks of nine: `--start` takes the self-forcing run."""
    method = StreamingLongTuningConfig(
        prompt=PROMPT,
        student_every=5,
        matching=DistributionMatchingConfig(shift=SHIFT),
        chunk=CHUNK,
        overlap=BLOCK,
    )
    return _run(
        "matrix_game_streaming",
        steps=3_000,
        latents=HORIZON,
        method=method,
        learning_rate=3e-6,
        critic_rate=3e-7,
    )


def _denoising(levels: LevelConfig) -> DiffusionForcingConfig:
    return DiffusionForcingConfig(
        levels=levels, loss_space="flow", level_weight=BellWeight(), clean_share=0.0, context_noise=0.0
    )


def _run(
    name: str,
    *,
    steps: int,
    learning_rate: float,
    causal: bool = True,
    latents: int = CHUNK,
    objective: ObjectiveConfig | None = None,
    method: MethodConfig | None = None,
    sampler: SamplerConfig | None = None,
    critic_rate: float | None = None,
) -> RunConfig:
    """Return a run on clips of a first latent and so many after it, eight a step: one a GPU, or one after the other."""
    critic = {} if critic_rate is None else {"critic": _adamw(critic_rate)}
    return RunConfig(
        recipe=name,
        importing=IMPORT,
        tokenizer=AbsentTokenizerConfig(made_by=AUTOENCODER, latent_shape=LATENT),
        model=matrix_game_model(causal=causal),
        objective=objective,
        method=method,
        sampler=sampler or FewStepSamplerConfig(steps=4, shift=SHIFT),
        stages=(Stage(steps=steps, frames=PROMPT + latents, batch=8),),
        trainer=TrainerConfig(
            steps=steps,
            accumulate=8,
            optimizer=_adamw(learning_rate),
            role_optimizers=critic,
            schedule=WarmupStableDecayConfig(warmup=min(1000, steps // 10), decay=0.0),
            ema=EMAConfig(max_decay=0.99 if method else 0.9999),
            checkpoint_every=min(1000, steps // 4),
            log_every=10,
        ),
        sample_every=min(2000, steps // 4),
        prompt_frames=PROMPT,
        source=Source(actions=KEYS, frame_size=SIZE, fps=25.0, game=None, fingerprint="none yet"),
    )


def _adamw(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(learning_rate=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, muon=False)
