"""Sample videos during training: real play above the dream of the same actions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hallucade.data.episode import Episode
from hallucade.data.pictures import overlay_keys, stack_rows, write_mp4
from hallucade.recipes.prompts import prompt_of
from hallucade.rollout import World, dream
from hallucade.training.trainer import Trainer

SAMPLES = "samples"
WIDTH = 160  # pixels of a shown frame, at least half of them


class SampleVideos:
    """A trainer callback: dream held-out play with the averaged weights and write ``samples/step_N.mp4``."""

    def __init__(self, world: World, episodes: Sequence[Episode], prompt_frames: int, folder: Path, every: int) -> None:
        self.every = every
        self._world, self._episodes, self._prompt_frames = world, episodes, prompt_frames
        self._folder, self._scale = folder, max(1, WIDTH // world.frame_size[1])

    def __call__(self, step: int, trainer: Trainer) -> None:
        with trainer.ema_weights():
            video = real_and_dream(self._world, self._episodes, self._prompt_frames, self._scale)
        self._folder.mkdir(exist_ok=True)
        write_mp4(self._folder / f"step_{step:08d}.mp4", video, self._world.fps)


def real_and_dream(world: World, episodes: Sequence[Episode], prompt_frames: int, scale: int) -> np.ndarray:
    """Dream episodes of equal length under their own actions; return pictures of real and dream rows, `t h w 3`."""
    p = prompt_frames
    prompts = [prompt_of(episode, p) for episode in episodes]
    actions = np.stack([episode.actions[p - 1 :] for episode in episodes])
    dreamed = np.concatenate([frames.cpu().numpy() for frames in dream(world, prompts, actions)], 1)
    columns: list[np.ndarray] = []
    for episode, imagined in zip(episodes, dreamed, strict=True):
        length = p + imagined.shape[0]
        rows = np.concatenate([episode.actions, world.actions.idle[None]])[:length]
        real = overlay_keys(np.asarray(episode.frames)[:length], world.actions, rows, scale)
        shown = np.concatenate([np.asarray(episode.frames)[:p], imagined])
        columns.append(stack_rows({"real": real, "dream": overlay_keys(shown, world.actions, rows, scale)}))
    return np.concatenate(columns, 2)
