"""A game of one dot for tests of recording and reading play: odd sizes, two controls, everything known."""

from pathlib import Path

import numpy as np

from hallucade.actions import ActionSpace, Axis, Choice
from hallucade.data.episode import Episode
from hallucade.data.manifest import StoreColumn, StoreManifest
from hallucade.data.recorder import RecordingConfig, record_game
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

H, W = 6, 10
ACTIONS = ActionSpace(
    choices=(Choice(name="move", options=("stay", "left", "right")),), axes=(Axis(name="tilt", low=-2, high=2),)
)


class DotGame:
    """A dot at column `x` that a choice moves; the state is (x, frames since the start, seed)."""

    actions, state_names, fps = ACTIONS, ("x", "age", "seed"), 15.0

    def reset(self, seeds: np.ndarray) -> None:
        self.state = np.stack([seeds % W, np.zeros(len(seeds)), seeds], axis=1).astype(np.float64)

    def get_state(self) -> np.ndarray:
        return self.state.copy()

    def set_state(self, state: np.ndarray) -> None:
        self.state = state.copy()

    def frames(self) -> np.ndarray:
        pictures = np.zeros((len(self.state), H, W, 3), np.uint8)
        pictures[..., 1] = (self.state[:, 2] % 200 + 20)[:, None, None]
        pictures[np.arange(len(self.state)), 3, self.state[:, 0].astype(int), 0] = 255
        return pictures

    def act(self, rows: np.ndarray) -> np.ndarray:
        step = np.array([0, -1, 1])[rows[:, 0].astype(int)]
        self.state[:, 0] = (self.state[:, 0] + step) % W
        self.state[:, 1] += 1
        return (self.state[:, 0] == 0).astype(np.float32)


class DotBot:
    """Moves by a rule over the game's seed and age, so that it never depends on its neighbours."""

    def __init__(self, games: int, seed: int) -> None:
        self.salt = (seed + np.arange(games)) % 7

    def __call__(self, state: np.ndarray) -> np.ndarray:
        turn = state[:, 1] * 5 + self.salt + state[:, 2] % 11
        return np.stack([turn % 3, turn % 5 - 2], axis=1).astype(np.float32)


def random_episode(length: int, seed: int, actions: ActionSpace = ACTIONS) -> Episode:
    """Return an episode of noise with every kind of column."""
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (length + 1, H, W, 3), np.uint8),
        actions=np.stack([rng.integers(0, 3, length), rng.uniform(-2, 2, length)], axis=1).astype(np.float32),
        rewards=rng.standard_normal(length).astype(np.float32),
        state=rng.standard_normal((length + 1, 3)),
        extras={"depth": rng.integers(0, 9, (length + 1, 2), np.int16)},
    )


def dot_manifest(**changes: object) -> StoreManifest:
    """Return the manifest of a store of `random_episode`."""
    e = random_episode(2, 0)
    columns = {"frames": e.frames, "actions": e.actions, "rewards": e.rewards, "state": e.state}
    columns |= {"extras.depth": e.extras["depth"]}
    described = tuple(StoreColumn.like(name, column) for name, column in columns.items())
    settings: dict[str, object] = {"actions": ACTIONS, "columns": described, "fps": 15.0, "validation_share": 0.25}
    return StoreManifest(**(settings | {"state_names": DotGame.state_names} | changes))


def write_store(path: Path, lengths: list[int], **changes: object) -> list[Episode]:
    """Write a store of `random_episode`s and return them."""
    episodes = [random_episode(length, seed) for seed, length in enumerate(lengths)]
    with StoreWriter(path, dot_manifest(**changes)) as writer:
        for i, episode in enumerate(episodes):
            writer.append([episode], [i])
    return episodes


def append_forever(path: Path) -> None:
    """Append until killed; for another process."""
    with StoreWriter(path) as made:
        while True:
            made.append([random_episode(3 + len(made) % 5, len(made) + i) for i in range(3)])


def record_dots(config: RecordingConfig, path: Path, **settings: object) -> EpisodeStore:
    """Record the dot game; by name for another process."""
    return record_game(config, DotGame(), DotBot, path, **settings)
