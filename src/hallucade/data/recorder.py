"""Records bots at play in a simulator, many games side by side, into an episode store.

Every draw is named by the episode's number, so a recording that was killed and resumed is the one that was not.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from hallucade.config import Config
from hallucade.data.episode import Episode
from hallucade.data.manifest import MANIFEST, StoreColumn, StoreManifest, refuse_other
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter
from hallucade.games.base import Bot, VectorGame
from hallucade.games.bots import make_bot
from hallucade.games.counter_random import random_bits
from hallucade.games.registry import FrameSize, make_vector_game

REEL_BYTES = 2**28  # memory for the frames of one batch of games
LICENCE = "CC0-1.0: played by a program in a simulator of this package"
Progress = Callable[[int, int], None]  # (frames recorded, frames in all)
BotMaker = Callable[[int, int], Bot]  # (games, seed); game i draws from (seed, i)


@dataclass(frozen=True, kw_only=True)
class RecordingConfig(Config):
    """What to record; the same config gives the same store, and more `frames` continue it.

    Raises:
        ValueError: a number that is not positive.
    """

    game: str = "pong"
    bot: str = "mixture"
    frame_size: FrameSize = 24  # pixels
    frames: int = 200_000  # at least: episodes are never cut short
    episode_length: int = 600  # actions
    games: int = 168  # side by side: two batches by default; fewer where frames would take more than `REEL_BYTES`
    seed: int = 0
    validation_share: float = 0.05  # of the episodes

    def __post_init__(self) -> None:
        for name in ("frames", "episode_length", "games"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def episodes(self) -> int:
        """Episodes that hold at least `frames` frames."""
        return -(-self.frames // (self.episode_length + 1))

    @property
    def settings(self) -> dict[str, int | float | str]:
        """What must be the same to continue a recording."""
        size = self.frame_size if isinstance(self.frame_size, int) else "x".join(map(str, self.frame_size))
        return {**{name: value for name, value in vars(self).items() if name != "frames"}, "frame_size": size}


def record(
    config: RecordingConfig,
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> EpisodeStore:
    """Record a built-in game; see `record_game`."""
    game = make_vector_game(config.game, config.frame_size)
    make_bot(config.bot, game.actions, 1, 0)  # an unknown bot is an error before there is a folder

    def bots(games: int, seed: int) -> Bot:
        return make_bot(config.bot, game.actions, games, seed)

    return record_game(config, game, bots, path, resume=resume, command=command, progress=progress)


def record_game(
    config: RecordingConfig,
    game: VectorGame,
    bots: BotMaker,
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> EpisodeStore:
    """Record any simulator into the store at `path` and open it.

    Args:
        config: `game` and `bot` are names for the record only.
        game: the simulator.
        bots: builds the players of one batch of games.
        path: a folder that is absent or empty, unless `resume`.
        resume: continue what is there; absent counts as nothing yet.
        command: the command line that asked for it, kept with the data.
        progress: called as frames are recorded.
    Raises:
        StoreError: the folder is not empty, or holds a recording with other settings, or the disk is full.
    """
    path = Path(path)
    reel = Reel(config, game)
    manifest = reel.manifest(command)
    fresh = not (resume and (path / MANIFEST).exists())
    with StoreWriter(path, manifest if fresh else None) as writer:
        refuse_other(path, writer.manifest, manifest)
        while len(writer) < config.episodes:
            _record_batch(config, bots, reel, writer, progress)
    return EpisodeStore(path)


def episode_seeds(seed: int, episodes: Int64[np.ndarray, "e"]) -> Int64[np.ndarray, "e"]:
    """Return the seed of each episode: 53 random bits named by the recording's seed and the episode's number."""
    return (random_bits(seed, episodes) >> np.uint64(11)).astype(np.int64)


def _record_batch(
    config: RecordingConfig, bots: BotMaker, reel: "Reel", writer: StoreWriter, progress: Progress | None
) -> None:
    """Play the batch of games that holds the next episode, and commit those that are not in the store yet."""
    batch, done = divmod(len(writer), reel.games)  # a commit that was killed may have left a part of its batch
    first, recorded = batch * reel.games, len(writer)
    seeds = episode_seeds(config.seed, np.arange(first, min(first + reel.games, config.episodes)))
    bot = bots(len(seeds), int(random_bits(config.seed, -1, batch)[0] >> np.uint64(11)))
    for frames in reel.play(seeds, bot):
        if progress is not None:
            new = frames * (len(seeds) - done)
            progress(recorded * reel.length + new, config.episodes * reel.length)
    writer.append(reel.episodes(len(seeds))[done:], seeds[done:].tolist())


class Reel:
    """Room for one batch of games, laid out so that each episode's rows lie together, as they will on disk."""

    def __init__(self, config: RecordingConfig, game: VectorGame) -> None:
        self.config, self.game, self.length = config, game, config.episode_length + 1
        game.reset(episode_seeds(config.seed, np.arange(1)))
        frame, state = game.frames()[0], game.get_state()[0]
        self.games = min(config.games, max(1, REEL_BYTES // (frame.nbytes * self.length)))
        n, t = self.games, self.length
        self.frames = np.empty((n, t, *frame.shape), np.uint8)
        self.state = np.empty((n, t, *state.shape), np.float64)
        self.actions = np.empty((n, t - 1, game.actions.size), np.float32)
        self.rewards = np.empty((n, t - 1), np.float32)

    def manifest(self, command: str) -> StoreManifest:
        """Describe the store that this recording makes."""
        columns = {"frames": self.frames, "actions": self.actions, "rewards": self.rewards, "state": self.state}
        return StoreManifest(
            actions=self.game.actions,
            columns=tuple(StoreColumn.like(name, column[0]) for name, column in columns.items()),
            fps=self.game.fps,
            state_names=self.game.state_names,
            game=self.config.game,
            source=f"simulator {self.config.game}, played by bot {self.config.bot}",
            licence=LICENCE,
            command=command,
            settings=self.config.settings,
            validation_share=self.config.validation_share,
        )

    def play(self, seeds: Int64[np.ndarray, "n"], bot: Bot) -> Iterator[int]:
        """Record one game a seed from its start, yielding the frames that each has so far."""
        n = len(seeds)
        self.game.reset(seeds)
        for i in range(self.length):
            state = self.game.get_state()
            self.frames[:n, i] = self.game.frames()
            self.state[:n, i] = state
            if i < self.length - 1:
                rows = bot(state)
                self.actions[:n, i] = rows
                self.rewards[:n, i] = self.game.act(rows)
            yield i + 1

    def episodes(self, n: int) -> list[Episode]:
        """Return the first n games as episodes; views that the next batch overwrites."""
        columns = zip(self.frames[:n], self.actions[:n], self.rewards[:n], self.state[:n], strict=True)
        return [Episode(*episode) for episode in columns]
