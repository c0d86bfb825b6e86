"""The pre-training of a video encoder on recorded play, and the folder that it is taken from."""

from dataclasses import dataclass, field
from pathlib import Path

from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.methods.encoder_pretraining import EncoderPretraining, PartConfig, check_mix
from hallucade.models.encoder_folder import KEPT, write_encoder
from hallucade.models.video_encoder import VideoEncoder, VideoEncoderConfig
from hallucade.objectives import clip_reconstruction as clip_reconstruction  # a run may name their configs
from hallucade.objectives import contrastive as contrastive
from hallucade.objectives import frame_regression as frame_regression
from hallucade.objectives import latent_prediction as latent_prediction
from hallucade.objectives import masked_video as masked_video
from hallucade.objectives import time_contrastive as time_contrastive
from hallucade.recipes.part_run import train_part
from hallucade.recipes.run_config import Experiment
from hallucade.training.trainer import Callback, Trainer, TrainingResult


@dataclass(frozen=True, kw_only=True)
class PretrainingRunConfig(Experiment):
    """The training of an encoder.

    Raises:
        ValueError: a part of the mix that would never run, or clips that one cannot use.
    """

    encoder: VideoEncoderConfig = field(default_factory=VideoEncoderConfig)
    parts: tuple[PartConfig, ...]  # of the mix that it learns from; one alone is the plain objective

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mix(self.parts, self.encoder, [(stage.steps, stage.frames) for stage in self.stages])


def train_encoder(
    config: PretrainingRunConfig,
    store: EpisodeStore | Mixture,
    run_folder: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train an encoder on the clips of `store`, into ``run_folder/encoder``; see ``train_part`` for the rest."""

    def prepare(config: PretrainingRunConfig) -> tuple[EncoderPretraining, list[Callback]]:
        encoder = config.encoder.build(store.frame_size)
        method = EncoderPretraining(encoder, config.parts, store.actions)
        return method, [KeepEncoder(config, encoder, run_folder / KEPT)]

    return train_part(config, store, run_folder, prepare, resume=resume, progress=progress)


class KeepEncoder:
    """A trainer callback: write the encoder as it is now, its averages where there are any."""

    def __init__(self, config: PretrainingRunConfig, encoder: VideoEncoder, folder: Path) -> None:
        self.every = config.trainer.checkpoint_every
        self._config, self._encoder, self._folder = config, encoder, folder

    def __call__(self, step: int, trainer: Trainer) -> None:
        source = self._config.source
        assert source is not None
        with trainer.ema_weights():
            write_encoder(self._folder, self._encoder, step=step, recipe=self._config.recipe, data=source.fingerprint)
