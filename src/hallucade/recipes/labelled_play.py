"""A store whose actions are those that a latent-action model reads off its frames: any world model learns from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hallucade.actions import ActionSpace, Choice
from hallucade.data.collect import Progress, collect
from hallucade.data.source import ForeignEpisode, SourceConfig, SourceError, frames_of
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.latent_action_check import check_frame_size
from hallucade.recipes.latent_actions import TrainedLatentActions, load_latent_actions

KEYS = (*(f"Digit{i % 10}" for i in range(1, 11)), *(f"Key{letter}" for letter in "QWERTYUIOPASDFGHJKLZXCVBNM"))


@dataclass(frozen=True, kw_only=True)
class LabelledPlayConfig(SourceConfig):
    """Which store, and whose actions."""

    store: str
    run: str  # of a latent-action model
    fingerprint: str  # of its weights

    def build(self) -> "LabelledPlay":
        """Open both.

        Raises:
            SourceError: the run has other weights now.
        """
        trained = load_latent_actions(self.run)
        if trained.fingerprint != self.fingerprint:
            what = f"it holds the latent actions {trained.fingerprint}, and {self.fingerprint} were meant"
            raise SourceError(self.run, what, "label into a new folder")
        return LabelledPlay(EpisodeStore(self.store), trained)


class LabelledPlay:
    """The episodes of a store, their actions replaced."""

    game = None  # no simulator has these actions

    def __init__(self, store: EpisodeStore, trained: TrainedLatentActions) -> None:
        check_frame_size(trained.network, store)
        self._store, self._network = store, trained.network
        self.fps, self.state_names = store.fps, store.state_names
        self.licence = store.manifest.licence
        self.origin = f"{store.manifest.source or store.path.name}, with the latent actions {trained.fingerprint}"
        self.actions = latent_action_space(trained.network.codes)

    @property
    def episodes(self) -> Sequence[str]:
        """Their numbers."""
        return [f"{number:08d}" for number in range(len(self._store))]

    def read(self, name: str) -> ForeignEpisode:
        """Read an episode and what the model sees in it.

        Raises:
            SourceError: the frames are not what was recorded.
        """
        number = int(name)
        record, episode = self._store.episodes[number], self._store.episode(number)
        try:
            frames = self._store.verified("frames").episode(number)
        except ValueError as error:
            raise SourceError(self._store.path, str(error), "restore it from a copy") from error
        codes = self._network.actions(torch.from_numpy(np.array(frames)))
        return ForeignEpisode(
            frames_of(frames),
            codes.numpy()[:, None].astype(np.float32),
            rewards=episode.rewards,
            state=None if episode.state is None else np.asarray(episode.state, np.float64),
            extras=episode.extras,
            split=record.split,
            seed=record.seed,
        )


def latent_action_space(codes: int) -> ActionSpace:
    """Return the space of n latent actions, of which one is always held: the commonest where no key is."""
    names = tuple(str(i + 1) for i in range(codes))
    return ActionSpace(choices=(Choice(name="latent", options=names, keys=tuple((key,) for key in KEYS[:codes])),))


def label_actions(
    store: Path,
    out: Path,
    run: Path,
    *,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> EpisodeStore:
    """Write a store with the frames of another, and the latent actions that lead from each to the next.

    Raises:
        ValueError: the run is no latent-action model's, or of another frame size; or `out` is not empty.
    """
    source = LabelledPlayConfig(store=str(store), run=str(run), fingerprint=load_latent_actions(run).fingerprint)
    return collect(source, out, resume=resume, command=command, progress=progress).store
