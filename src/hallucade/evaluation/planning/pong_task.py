"""Pong: return the ball that is coming, against the built-in opponent, with the paddle anywhere."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from hallucade.evaluation.game_check.pong_tracker import track
from hallucade.evaluation.game_check.pong_truth import PongTruth, held_out_games
from hallucade.evaluation.planning.costs import ReaderCost
from hallucade.evaluation.planning.futures import Cost, Imagination
from hallucade.evaluation.planning.simulated_futures import SimulatedFutures
from hallucade.evaluation.planning.task import Policy, Turn
from hallucade.games.bots import make_bot
from hallucade.games.pong import (
    BALL_VX,
    BALL_X,
    OPPONENT_POINTS,
    PLAYER_CONTACT_X,
    PONG_ACTIONS,
    Pong,
    PongConfig,
)
from hallucade.games.pong_court import COURT
from hallucade.rollout import Prompt, World

TIME_LEFT = (12, 26)  # frames until the ball arrives at which an episode begins: from late to just after a return
WARM_UP = (8, 240)  # frames played before
DRAWN = 8  # games for each episode; about a third of all moments will do


class PongTask:
    """Episodes begin in the middle of held-out play and end when the ball is returned or lost.

    The cost is what a reader sees: how far paddle and ball are apart in height, averaged over the plan.

    Args:
        world: dreams Pong; its pictures' size is the game's.
        episodes: how many can be begun.
        seed: of the games.
    """

    name = "pong"
    about = "the ball is returned"
    measure = "ball returned (1) or lost (0)"
    higher = True
    limit = 2 * TIME_LEFT[1]
    policies: tuple[str, ...] = ("random_hold", "good")

    def __init__(self, world: World, episodes: int, seed: int) -> None:
        height, width = world.frame_size
        if height != width or PONG_ACTIONS.difference(world.actions):
            raise ValueError(f"this run dreams {height}x{width} pictures under [{world.actions.describe()}], not Pong")
        rules = PongConfig(frame_size=height)
        self._games, self._game, self._seed = rules.build(), Pong(frame_size=height), seed
        self._starts = coming_balls(rules, episodes, max(world.model.context, world.frames_per_step), seed)

    def begin(self, episode: int) -> Prompt:
        start = self._starts.games([episode])
        self._game.set_state(start.last[0])
        return start.prompts()[0]

    def act(self, row: Float32[np.ndarray, "c"]) -> Turn:
        lost_before = self._game.get_state()[OPPONENT_POINTS]
        frame, _ = self._game.act(row)
        state = self._game.get_state()
        lost = bool(state[OPPONENT_POINTS] > lost_before)
        returned = not lost and bool(state[BALL_VX] < 0)
        return Turn(frame, state, returned, lost or returned, float(returned))

    def cost(self, world: World) -> Cost:
        return ReaderCost(apart)

    def simulator(self, world: World) -> Imagination:
        return SimulatedFutures(self._games, self._game.get_state(), world)

    def policy(self, name: str, episode: int) -> Policy:
        return make_bot(name, PONG_ACTIONS, 1, self._seed + episode)


def apart(frames: np.ndarray) -> Float64[np.ndarray, "n f"]:
    """Read how far the player's paddle is above or below the ball, in court units; a lost sight counts as far."""
    seen = track(frames)
    return np.nan_to_num(np.abs(seen.player_y - seen.ball_y).astype(np.float64), nan=COURT)


def coming_balls(rules: PongConfig, count: int, prompt_frames: int, seed: int) -> PongTruth:
    """Return held-out games whose ball flies to the player at the end of the prompt, and can still be met."""
    games = held_out_games(rules, DRAWN * count + DRAWN, prompt_frames, 1, WARM_UP, seed)
    found = np.flatnonzero(_coming(games.last))
    assert len(found) >= count, f"{len(found)} of {games.count} games have a ball that comes; {count} are needed"
    return games.games(found[:count])


def _coming(state: Float64[np.ndarray, "n s"]) -> Bool[np.ndarray, "n"]:
    speed = state[:, BALL_VX]
    left = (PLAYER_CONTACT_X - state[:, BALL_X]) / np.where(speed > 0, speed, 1)
    return (speed > 0) & (left >= TIME_LEFT[0]) & (left <= TIME_LEFT[1])
