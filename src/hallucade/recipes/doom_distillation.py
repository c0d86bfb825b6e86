"""Doom in third person, from a teacher that sees whole clips to a student that plays in two steps for as long as asked.

All work on the latents of an autoencoder that is trained first (`hallucade train tokenizer_kl`), 8 x 8 of 8 channels
for a frame of 64 x 64: it has the details of a picture, and the small network of these runs only what moves. Four runs,
each of which starts from the one before; `docs/distillation.md` has the commands and what came of them:

1. `doom_third_person_teacher`: a bidirectional network over sixteen frames, one noise level a clip.
2. `doom_third_person_causal`: its weights made causal, taught by what really came before each frame.
3. `doom_third_person_self_forcing`: two steps a frame, on clips that the student plays itself, graded by the teacher.
4. `doom_third_person_streaming`: the same on games of 64 frames, sixteen at a time.

The networks are small: minutes to hours on two CPU cores. On a GPU make them larger, all four alike
(`--model.width 512 --model.depth 12 --model.heads 8`), and train ten times as long (`--steps`).
"""

from dataclasses import replace

from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.methods.base import MethodConfig
from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.self_forcing import SelfForcingConfig
from hallucade.methods.streaming_long_tuning import StreamingLongTuningConfig
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.objectives.base import ObjectiveConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.objectives.teacher_forcing import TeacherForcingConfig
from hallucade.recipes.any_game import transformer_small
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.base import SamplerConfig
from hallucade.samplers.clipwise import ClipwiseSamplerConfig
from hallucade.samplers.few_step import FewStepSamplerConfig
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.samplers.joint import JointSamplerConfig
from hallucade.tokenizers.absent import AbsentTokenizerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import WarmupStableDecayConfig

PROMPT, CLIP, OVERLAP, GAME = 4, 16, 4, 64  # frames: real at the start, graded at once, graded before, of a sequence
LATENT = (8, 8, 8)  # channels, rows, columns
AUTOENCODER = "an autoencoder of 8 channels (hallucade train tokenizer_kl --tokenizer.bottleneck.channels 8)"
STEPS = 16  # of teacher and causal network
LEVELS = LogitNormalLevels(mean=0.5, std=1.2, pure_noise_share=0.1)
MATCHING = DistributionMatchingConfig(least_level=0.1, most_level=0.95)


def doom_third_person_teacher() -> RunConfig:
    """Doom in third person over whole clips, sixteen frames at once, to teach the recipes that follow."""
    return _run(
        "doom_third_person_teacher",
        causal=False,
        steps=4000,
        objective=DiffusionForcingConfig(
            levels=replace(LEVELS, per="clip"), loss_space="x", clean_share=0.5, context_noise=0.0, motion_weight=2.0
        ),
        sampler=ClipwiseSamplerConfig(joint=JointSamplerConfig(steps=STEPS), clip=CLIP),
    )


def doom_third_person_causal() -> RunConfig:
    """The teacher made causal, frame by frame: `--start` takes the teacher's run."""
    return _run(
        "doom_third_person_causal",
        steps=2000,
        objective=TeacherForcingConfig(levels=LEVELS, loss_space="x", motion_weight=2.0),
        sampler=FlowSamplerConfig(steps=STEPS),
    )


def doom_third_person_self_forcing() -> RunConfig:
    """Doom in two steps, taught on clips that it plays itself: `--start` takes the causal run."""
    method = SelfForcingConfig(prompt=PROMPT, student_every=2, matching=MATCHING)
    return _run("doom_third_person_self_forcing", steps=400, method=method, sampler=FewStepSamplerConfig(steps=2))


def doom_third_person_streaming() -> RunConfig:
    """The same on games of 64 frames that go on from step to step: `--start` takes the self-forcing run."""
    method = StreamingLongTuningConfig(prompt=PROMPT, student_every=2, matching=MATCHING, chunk=CLIP, overlap=OVERLAP)
    return _run(
        "doom_third_person_streaming",
        steps=200,
        frames=GAME,
        method=method,
        sampler=FewStepSamplerConfig(steps=2),
        rate=1e-5,  # at 5e-5 its games grew dark, one frame from the other
    )


def doom_third_person_model(*, causal: bool) -> DiffusionTransformerConfig:
    """Return the network: the same weights for both, with and without a view of what comes later."""
    return DiffusionTransformerConfig(
        width=128,
        depth=6,
        heads=4,
        patch=1,
        attention="causal" if causal else "bidirectional",
        window=CLIP,
        sink=1 if causal else 0,
        image_condition="first_frame",
    )


def _run(
    name: str,
    *,
    steps: int,
    sampler: SamplerConfig,
    causal: bool = True,
    frames: int = CLIP,
    objective: ObjectiveConfig | None = None,
    method: MethodConfig | None = None,
    rate: float = 5e-5,  # of a student
) -> RunConfig:
    base, play = transformer_small(), EnvironmentConfig(environment="doom_third_person")
    trainer = replace(base.trainer, steps=steps)
    if method is not None:  # small rates, because all three networks start alike
        taught = OptimizerConfig(learning_rate=5e-5, muon=False)
        trainer = replace(
            trainer,
            compile=False,
            optimizer=replace(taught, learning_rate=rate),
            role_optimizers={"critic": taught},
            schedule=WarmupStableDecayConfig(warmup=20, decay=0.4),
        )
    return replace(
        base,
        recipe=name,
        recording=EnvironmentRecordingConfig(
            source=play, conversion=ConversionConfig(size=(64, 64), fit="stretch"), frames=100_000
        ),
        tokenizer=AbsentTokenizerConfig(made_by=AUTOENCODER, latent_shape=LATENT),
        model=doom_third_person_model(causal=causal),
        objective=objective,
        method=method,
        sampler=sampler,
        stages=(Stage(steps=steps, frames=frames, batch=8),),
        trainer=trainer,
        sample_every=max(100, steps // 4),
        prompt_frames=PROMPT,
    )
