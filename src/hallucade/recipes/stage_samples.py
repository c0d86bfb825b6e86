"""Sample videos of a run in stages: each stage's dreams in its own size and at its own rate."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.models.base import WorldModel
from hallucade.recipes.held_out import prompted_episodes
from hallucade.recipes.load import make_world
from hallucade.recipes.run_config import RunConfig, Source
from hallucade.recipes.samples import SAMPLES, SampleVideos
from hallucade.recipes.stages import framings
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.curriculum import StagedClips, named
from hallucade.training.trainer import Trainer

SAMPLED = 4  # shown in a video


class StagedSamples:
    """A trainer callback: of the stage that a step belongs to, what its samples are made by."""

    def __init__(self, clips: StagedClips, videos: Sequence[SampleVideos]) -> None:
        self.every = videos[0].every
        self._clips, self._videos = clips, videos

    def __call__(self, step: int, trainer: Trainer) -> None:
        self._videos[self._clips.number_at(step - 1)](step, trainer)


def sample_videos(
    config: RunConfig, store: EpisodeStore | Mixture, tokenizer: Tokenizer, model: WorldModel[Any], run_folder: Path
) -> list[SampleVideos]:
    """Return what samples the dreams of each stage, in its size and at its rate.

    Raises:
        ValueError: the model cannot take a size; names the stage.
    """
    assert config.source is not None
    recorded, videos = Source.of(store), list[SampleVideos]()
    shown = framings(config.stages, recorded)
    for number, (stage, framing) in enumerate(zip(config.stages, shown, strict=True)):
        source = replace(recorded.framed(framing), actions=config.source.actions)
        try:
            seen = model.at(tokenizer.latent_shape(*source.frame_size), framing.stride / shown[-1].stride)
        except ValueError as error:
            raise named(number, stage, error) from error
        world = make_world(replace(config, source=source), tokenizer, seen)
        episodes = prompted_episodes(store, config.prompt_frames, framing)[:SAMPLED]
        videos.append(SampleVideos(world, episodes, config.prompt_frames, run_folder / SAMPLES, config.sample_every))
    return videos
