"""Environments as a source of episodes: played when they are read, each a pure function of (seed, number)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, overload

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.data.recorder import episode_seeds
from hallucade.data.source import ForeignEpisode, SourceConfig
from hallucade.games.environments import find_environment
from hallucade.games.gymnasium_game import GymnasiumGame, Moment
from hallucade.games.native_actions import ActionRow
from hallucade.games.players import Player, player_maker

ENDLESS = 10_000_000  # episodes that a source names; whoever reads it says how many are wanted


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig(SourceConfig):
    """What is played, by whom.

    Raises:
        ValueError: a number out of range, or options that are no JSON object.
    """

    environment: str  # a known name ("doom_third_person"), or any Gymnasium id ("CartPole-v1", "module:Name-v0")
    bot: str | None = None  # random_hold, idle, path/to/file.py:function, or, by default, the environment's own
    seed: int = 0  # the same seed gives the same store
    episode_length: int = 600  # actions at most; the environment may end an episode before
    frame_skip: int | None = None  # steps of the environment a frame; None is its own default
    mean_hold: float = 8.0  # frames that random_hold holds a control, on average
    env_kwargs: str = "{}"  # JSON: keyword arguments of gymnasium.make, such as '{"monsters": true}'

    def __post_init__(self) -> None:
        if self.episode_length < 1:
            raise ValueError(f"episode_length is {self.episode_length}; it must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")
        self.options()

    def options(self) -> dict[str, Any]:
        """Return `env_kwargs` as a dictionary."""
        try:
            options = json.loads(self.env_kwargs)
        except ValueError as error:
            raise ValueError(f"env_kwargs is {self.env_kwargs!r}, which is no JSON: {error}") from error
        if not isinstance(options, dict):
            raise ValueError(f"env_kwargs is {self.env_kwargs!r}; give a JSON object such as '{{\"mode\": 1}}'")
        return cast("dict[str, Any]", options)

    def build(self) -> "EnvironmentSource":
        """Make the environment once, to see what it is.

        Raises:
            ValueError: it is not installed, cannot be recorded, or there is no such bot.
        """
        return EnvironmentSource(self)


class EnvironmentSource:
    """Plays episode i of an environment when it is read."""

    def __init__(self, config: EnvironmentConfig) -> None:
        self.config = config
        self._environment = find_environment(config.environment)
        own = dict(self._environment.players)
        self._bot = config.bot or next(iter(own), "random_hold")
        self._maker = player_maker(self._bot, own, config.mean_hold)
        self._game: GymnasiumGame | None = self._made()
        self._actions, self._fps = self._game.actions, self._game.fps
        self._state_names = self._game.state_names

    @property
    def actions(self) -> ActionSpace:
        """What a player can do."""
        return self._actions

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._fps

    @property
    def state_names(self) -> tuple[str, ...]:
        """One name a state variable."""
        return self._state_names

    @property
    def game(self) -> str | None:
        """None: a built-in simulator is recorded by `recorder`."""
        return None

    @property
    def origin(self) -> str:
        """One line for people."""
        return f"environment {self.config.environment} ({self._environment.id}), played by bot {self._bot}"

    @property
    def licence(self) -> str:
        """What others may do with it."""
        return self._environment.licence

    @property
    def episodes(self) -> Sequence[str]:
        """Names without an end: take as many as are wanted."""
        return EpisodeNames(range(ENDLESS))

    def read(self, name: str) -> ForeignEpisode:
        """Play episode `name`."""
        index = int(name)
        seed = int(episode_seeds(self.config.seed, np.array([index]))[0]) % 2**31  # the most that every simulator takes
        game = self._game or self._made()
        self._game = None
        try:
            played = self._played(game, seed)
        except BaseException:
            game.close()
            raise
        if self._environment.reusable:
            self._game = game
        else:
            game.close()
        return played

    def _made(self) -> GymnasiumGame:
        return GymnasiumGame(self._environment, self.config.frame_skip, self.config.options())

    def _played(self, game: GymnasiumGame, seed: int) -> ForeignEpisode:
        player, rng = self._maker(game.actions), np.random.default_rng(seed)
        moments, rows, rewards = [game.reset(seed)], list[ActionRow](), list[float]()
        over = False
        while not over and len(rows) < self.config.episode_length:
            row = self._chosen(player, moments[-1], rng)
            outcome = game.act(row)
            over = outcome.over
            if outcome.moment is None:
                break  # what the last action led to was never drawn
            moments.append(outcome.moment)
            rows.append(row)
            rewards.append(outcome.reward)
        frames = [moment.frame for moment in moments]
        return ForeignEpisode(
            frames=lambda: iter(frames),
            actions=np.array(rows, np.float32).reshape(len(rows), game.actions.size),
            rewards=np.array(rewards, np.float32),
            state=np.stack([m.state for m in moments if m.state is not None]) if game.state_names else None,
            extras={key: np.stack([m.extras[key] for m in moments]) for key in moments[0].extras},
            seed=seed,
        )

    def _chosen(self, player: Player, moment: Moment, rng: np.random.Generator) -> ActionRow:
        """Ask the player for a row, and keep a copy: it may hand out the same array again.

        Raises:
            ValueError: the answer is no row of this environment's actions.
        """
        row = np.array(player(moment.frame, moment.state, rng), np.float32)
        try:
            self._actions.validate(row)
        except ValueError as error:
            raise ValueError(f"bot {self._bot!r} of environment {self.config.environment!r}: {error}") from error
        return row


class EpisodeNames(Sequence[str]):
    """The names "0000000", "0000001", ... without a list of them."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "EpisodeNames": ...
    def __getitem__(self, index: int | slice) -> "str | EpisodeNames":
        chosen = self._numbers[index]
        return EpisodeNames(chosen) if isinstance(chosen, range) else f"{chosen:07d}"
