"""NanoWM's training in latents: short clips, each frame at its own noise level, the target v, min-SNR.

As its documents and configs say: AdamW at 1e-4 with decay 0.01, 1,000 steps of warm-up and half a cosine, 64 clips a
step, a cosine schedule of zero terminal SNR, logit-normal levels, gamma 5, and history at level 0.02 when it dreams.

Ours where its code differs from its documents, or where we know better:

- the rate does warm up and fall; NanoWM's code holds it;
- min-SNR weighs each frame by its own level, by the formula for v; NanoWM's takes the formula for eps, and one weight
  for all frames of a clip, their mean;
- gradients are cut at norm 1 from the first step; NanoWM's at 0.1, from step 20,000 on;
- an average of the weights is kept and used; NanoWM keeps none;
- a dreamed frame sees cached keys of the frames before it, and takes 20 DDIM steps; NanoWM runs its whole clip 250
  times a frame (`--sampling-steps 250` comes closest);
- axes are scaled to [-1, 1] over their range; NanoWM standardises those of the maze, PushT and RT-1, and takes the
  others as they are.

Source: github.com/simchowitzlabpublic/nano-world-model (MIT), its page on training and its configurations.
"""

from hallucade.data.environment_recording import EnvironmentRecordingConfig
from hallucade.diffusion.timesteps import LogitNormalLevels
from hallucade.diffusion.weighting import MinSNRWeight
from hallucade.models.diffusion_transformer import DiffusionTransformerConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.run_config import RunConfig
from hallucade.samplers.ddim import DDIMSamplerConfig
from hallucade.samplers.guided import GuidedSamplerConfig
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig
from hallucade.training.curriculum import Stage
from hallucade.training.optimizers import OptimizerConfig
from hallucade.training.schedules import CosineScheduleConfig
from hallucade.training.trainer_config import TrainerConfig

AUTOENCODER = "stabilityai/sd-vae-ft-mse"  # NanoWM's; four channels at an eighth of the size
INTERVAL = 5  # frames that are joined into one where DINO-WM skips


def nanowm_run(
    name: str,
    model: DiffusionTransformerConfig,
    *,
    steps: int,
    recording: EnvironmentRecordingConfig | None = None,
    importing: str | None = None,
    batch: int = 64,
    accumulate: int = 4,
    learning_rate: float = 1e-4,
) -> RunConfig:
    """Return a run of NanoWM on some world; a clip is as long as the model's window.

    Args:
        name: of the recipe.
        model: the network, in latents.
        steps: of training.
        recording: what to record.
        importing: or the command that makes a store of others' recordings.
        batch: clips in a step, over all ranks.
        accumulate: parts that a rank's clips are trained in, one after the other, for less memory.
        learning_rate: at its highest.
    """
    return RunConfig(
        recipe=name,
        recording=recording,
        importing=importing,
        tokenizer=PretrainedTokenizerConfig(path=AUTOENCODER),
        model=model,
        objective=DiffusionForcingConfig(
            levels=LogitNormalLevels(), level_weight=MinSNRWeight(gamma=5), clean_share=0.0, context_noise=0.0
        ),
        sampler=GuidedSamplerConfig(sampler=DDIMSamplerConfig(steps=20), history_level=0.02),
        stages=(Stage(steps=steps, frames=model.window, batch=batch),),
        trainer=TrainerConfig(
            steps=steps,
            accumulate=accumulate,
            optimizer=OptimizerConfig(learning_rate=learning_rate, betas=(0.9, 0.999), weight_decay=0.01, muon=False),
            schedule=CosineScheduleConfig(warmup=1000),
            checkpoint_every=5000,
            log_every=100,
        ),
        sample_every=5000,
        prompt_frames=min(4, model.window),
    )
