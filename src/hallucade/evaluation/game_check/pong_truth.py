"""What really happens: held-out Pong games, each with a prompt of real frames and the play that follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from hallucade.games.bots import make_bot
from hallucade.games.pong import PONG_ACTIONS, SERVES, PongConfig
from hallucade.rollout import Prompt

HELD_OUT = 10**9  # recordings count their seeds up from 0 and stay far below
SEARCHED = 8  # prompts after the warm-up, end to end, in which one without a serve is looked for


@dataclass(frozen=True)
class PongTruth:
    """b games over t = prompt + horizon frames; positions as `hallucade.games.pong.STATE_NAMES` says."""

    rules: PongConfig
    states: Float64[np.ndarray, "b t s"]
    actions: Float32[np.ndarray, "b t-1 c"]  # what the bot pressed; row i leads to frame i + 1
    prompt_frames: int

    @property
    def count(self) -> int:
        """Games, b."""
        return self.states.shape[0]

    @property
    def horizon(self) -> int:
        """Frames after the prompt."""
        return self.states.shape[1] - self.prompt_frames

    @property
    def future(self) -> Float64[np.ndarray, "b horizon s"]:
        """States after the prompt."""
        return self.states[:, self.prompt_frames :]

    @property
    def future_actions(self) -> Float32[np.ndarray, "b horizon c"]:
        """Actions that lead to the frames after the prompt."""
        return self.actions[:, self.prompt_frames - 1 :]

    @property
    def last(self) -> Float64[np.ndarray, "b s"]:
        """States at the last frame of the prompt."""
        return self.states[:, self.prompt_frames - 1]

    @property
    def before_serve(self) -> Bool[np.ndarray, "b horizon"]:
        """Mark the frames after the prompt up to each game's first serve, which nobody can foresee."""
        return self.future[..., SERVES] == self.last[:, None, SERVES]

    def frames(self, start: int, stop: int) -> UInt8[np.ndarray, "b n h w 3"]:
        """Draw frames `start` to `stop` of every game, counted from the first of the prompt."""
        games, states = self.rules.build(), self.states[:, start:stop]
        games.set_state(states.reshape(-1, states.shape[-1]))
        drawn = games.frames()
        return drawn.reshape(*states.shape[:2], *drawn.shape[1:])

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the real play that dreams of these games start from."""
        frames = self.frames(0, self.prompt_frames)
        actions = self.actions[:, : self.prompt_frames - 1]
        return tuple(Prompt(f, a, s) for f, a, s in zip(frames, actions, self.last, strict=True))

    def following(self, future: Float64[np.ndarray, "b horizon s"]) -> "PongTruth":
        """Return the same prompts followed by other states."""
        return PongTruth(
            self.rules,
            np.concatenate([self.states[:, : self.prompt_frames], future], 1),
            self.actions,
            self.prompt_frames,
        )

    def games(self, chosen: slice | Sequence[int] | np.ndarray) -> "PongTruth":
        """Return some of the games."""
        return PongTruth(self.rules, self.states[chosen], self.actions[chosen], self.prompt_frames)


def held_out_games(
    rules: PongConfig, count: int, prompt_frames: int, horizon: int, warm_up: tuple[int, int], seed: int
) -> PongTruth:
    """Play games that no recording holds, with the mixture of bots that recordings use.

    The prompt starts after a random warm-up, of `warm_up` frames at least and at most, and holds no serve, so that its
    last state can be seen in its frames.
    """
    seeds = HELD_OUT + seed * 1_000_003 + np.arange(count)
    window = prompt_frames + horizon
    states, actions = _play(rules, seeds, warm_up[1] + SEARCHED * prompt_frames + window)
    serves = states[:, : states.shape[1] - horizon, SERVES]
    drawn = np.random.default_rng(seeds[0]).integers(warm_up[0], warm_up[1] + 1, count)
    start = _without_serve(serves, prompt_frames, drawn)
    frame = start[:, None] + np.arange(window)
    game = np.arange(count)[:, None]
    return PongTruth(rules, states[game, frame], actions[game, frame[:, :-1]], prompt_frames)


def simulate(
    rules: PongConfig, start: Float64[np.ndarray, "n s"], actions: Float32[np.ndarray, "n m c"]
) -> Float64[np.ndarray, "n m s"]:
    """Return the true states that follow `start` under `actions`, without it."""
    games = rules.build()
    games.set_state(start)
    states = np.empty((actions.shape[1], *start.shape))
    for step in range(actions.shape[1]):
        games.act(actions[:, step])
        states[step] = games.get_state()
    return states.swapaxes(0, 1)


def _play(
    rules: PongConfig, seeds: Int64[np.ndarray, "n"], frames: int
) -> tuple[Float64[np.ndarray, "n frames s"], Float32[np.ndarray, "n frames-1 c"]]:
    games, bot = rules.build(), make_bot("mixture", PONG_ACTIONS, len(seeds), int(seeds[0]))
    games.reset(seeds)
    states, actions = [games.get_state()], list[np.ndarray]()
    for _ in range(frames - 1):
        actions.append(bot(states[-1]))
        games.act(actions[-1])
        states.append(games.get_state())
    return np.stack(states, 1), np.stack(actions, 1)


def _without_serve(
    serves: Float64[np.ndarray, "n t"], prompt_frames: int, drawn: Int64[np.ndarray, "n"]
) -> Int64[np.ndarray, "n"]:
    """Return where each prompt starts: where it was drawn, or later, past a serve within it, if a place is found."""
    places = serves.shape[1] - prompt_frames + 1
    place = np.arange(places, dtype=np.int64)
    quiet = (serves[:, prompt_frames - 1 :] == serves[:, :places]) & (place >= drawn[:, None])
    return np.where(quiet.any(1), np.where(quiet, place, places).min(1), drawn)
