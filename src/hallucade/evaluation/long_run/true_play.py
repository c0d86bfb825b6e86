"""The truth beside a long dream: real play that follows the prompts, drawn or read a few frames at a time."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.game_check.pong_truth import HELD_OUT, PongTruth, simulate
from hallucade.games.base import VectorGame
from hallucade.games.bots import make_bot
from hallucade.games.pong import SEED
from hallucade.games.registry import make_vector_game
from hallucade.rollout import Prompt, World

OTHER_LUCK = 500_000  # between the seed of a game and that of its other serves


class TruePlay(ABC):
    """g games and the actions that lead on from their prompts; frames are made when they are asked for."""

    prompts: tuple[Prompt, ...]
    actions: Float32[np.ndarray, "g n c"]
    lengths: Int64[np.ndarray, "g"]  # frames after the prompt
    foreseeable: Bool[np.ndarray, "g n"] | None = None  # frames before the first that nobody can foresee, if known

    @property
    def count(self) -> int:
        """Games."""
        return len(self.prompts)

    @property
    def horizon(self) -> int:
        """Frames of the longest."""
        return int(self.lengths.max())

    @abstractmethod
    def frames(self, first: int, last: int) -> UInt8[np.ndarray, "g m h w 3"]:
        """Return the frames from number `first` up to `last` after the prompt; games that have ended stand still."""

    def frames_of_other_luck(self, first: int, last: int) -> UInt8[np.ndarray, "g m h w 3"] | None:
        """Return what the same games would show under the same keys, had chance drawn otherwise; None if unknown."""
        return None


class SimulatedPlay(TruePlay):
    """States of a simulator, which draws them again: a thousand frames are kept as numbers."""

    def __init__(
        self,
        game: VectorGame,
        prompts: tuple[Prompt, ...],
        states: Float64[np.ndarray, "g n s"],
        actions: Float32[np.ndarray, "g n c"],
        foreseeable: Bool[np.ndarray, "g n"] | None = None,
        other_luck: Float64[np.ndarray, "g n s"] | None = None,
    ) -> None:
        self.prompts, self.actions, self.foreseeable = prompts, actions, foreseeable
        self.states, self._other_luck = states, other_luck  # after the prompt
        self.lengths = np.full(len(prompts), states.shape[1])
        self._game = game

    @classmethod
    def of_pong(cls, truth: PongTruth) -> "SimulatedPlay":
        """Go on from the games of a Pong check."""
        start = truth.last.copy()
        start[:, SEED] += OTHER_LUCK
        luck = simulate(truth.rules, start, truth.future_actions)
        game = truth.rules.build()
        return cls(game, truth.prompts(), truth.future, truth.future_actions, truth.before_serve, luck)

    @classmethod
    def of_world(
        cls, world: World, games: int, prompt_frames: int, frames: int, warm_up: tuple[int, int], seed: int
    ) -> "SimulatedPlay":
        """Play a world's own game with the bots that recordings use, from seeds that no recording has.

        Raises:
            ValueError: no built-in simulator plays it, or its actions are not the world's.
        """
        assert world.game is not None, "a world without a simulator has no such truth"
        game = make_vector_game(world.game, world.frame_size)
        if difference := game.actions.difference(world.actions):
            raise ValueError(f"the model does not play {world.game}: {difference}; judge it on recorded clips instead")
        seeds = HELD_OUT + seed * 1_000_003 + np.arange(games)
        starts = np.random.default_rng(seeds[0]).integers(warm_up[0], warm_up[1] + 1, games)
        states, rows = _played(game, seeds, warm_up[1] + prompt_frames + frames)
        number = np.arange(games)[:, None]
        at = starts[:, None] + np.arange(prompt_frames + frames)
        states, rows = states[number, at], rows[number, at[:, :-1]]
        before = _drawn(game, states[:, :prompt_frames])
        prompts = tuple(
            Prompt(f, r[: prompt_frames - 1], s[prompt_frames - 1])
            for f, r, s in zip(before, rows, states, strict=True)
        )
        return cls(game, prompts, states[:, prompt_frames:], rows[:, prompt_frames - 1 :])

    def frames(self, first: int, last: int) -> UInt8[np.ndarray, "g m h w 3"]:
        return _drawn(self._game, self.states[:, first:last])

    def frames_of_other_luck(self, first: int, last: int) -> UInt8[np.ndarray, "g m h w 3"] | None:
        return None if self._other_luck is None else _drawn(self._game, self._other_luck[:, first:last])


@dataclass(frozen=True)
class _Reach:
    """Where an episode's play after the prompt is."""

    index: int
    frames: int


class RecordedPlay(TruePlay):
    """Whole episodes of a store's validation split, from their beginning as far as they go.

    Raises:
        ValueError: no validation episode is longer than the prompt.
    """

    def __init__(self, store: EpisodeStore, games: int, prompt_frames: int, frames: int) -> None:
        long_enough = [i for i in store.indices("validation") if store.episodes[i].frames > prompt_frames]
        if not long_enough:
            raise ValueError(
                f"no validation episode of {store.path} is longer than a prompt of {prompt_frames} frames; record more "
                "play, or longer episodes"
            )
        spread = np.linspace(0, len(long_enough) - 1, min(games, len(long_enough))).round().tolist()
        picked = [long_enough[int(place)] for place in spread]
        self._store, self._prompt_frames = store, prompt_frames
        self._reaches = [_Reach(i, min(store.episodes[i].frames - prompt_frames, frames)) for i in picked]
        self.lengths = np.array([reach.frames for reach in self._reaches], np.int64)
        starts = [store.read(reach.index, 0, prompt_frames + 1) for reach in self._reaches]
        self.prompts = tuple(
            Prompt(np.array(s.frames[:prompt_frames]), np.array(s.actions[: prompt_frames - 1])) for s in starts
        )
        self.actions = np.stack([self._held(reach) for reach in self._reaches])

    def frames(self, first: int, last: int) -> UInt8[np.ndarray, "g m h w 3"]:
        parts = list[np.ndarray]()
        for reach in self._reaches:
            start = min(first, reach.frames - 1)
            stop = max(min(last, reach.frames), start + 1)
            read = np.asarray(self._store.read(reach.index, self._prompt_frames + start, stop - start).frames)
            parts.append(np.concatenate([read, np.repeat(read[-1:], last - first - len(read), 0)]))
        return np.stack(parts)

    def _held(self, reach: _Reach) -> Float32[np.ndarray, "n c"]:
        """Return the actions after the prompt, the last one held on to the longest episode's end."""
        p = self._prompt_frames
        rows = np.asarray(self._store.read(reach.index, p - 1, reach.frames + 1).actions, np.float32)
        return np.concatenate([rows, np.repeat(rows[-1:], self.horizon - len(rows), 0)])


def _played(
    game: VectorGame, seeds: Int64[np.ndarray, "g"], frames: int
) -> tuple[Float64[np.ndarray, "g frames s"], Float32[np.ndarray, "g frames-1 c"]]:
    bot = make_bot("mixture", game.actions, len(seeds), int(seeds[0]))
    game.reset(seeds)
    states, rows = [game.get_state()], list[np.ndarray]()
    for _ in range(frames - 1):
        rows.append(bot(states[-1]))
        game.act(rows[-1])
        states.append(game.get_state())
    return np.stack(states, 1), np.stack(rows, 1)


def _drawn(game: VectorGame, states: Float64[np.ndarray, "g m s"]) -> UInt8[np.ndarray, "g m h w 3"]:
    game.set_state(states.reshape(-1, states.shape[-1]))
    frames = game.frames()
    return frames.reshape(*states.shape[:2], *frames.shape[1:])
