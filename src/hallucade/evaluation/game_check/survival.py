"""Does the game last: a bot plays the dream, seeing nothing but the dream, until it falls apart or time is up.

Every segment counts and not only the last: a dream that collapses and comes back has not survived.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from hallucade.evaluation.game_check.dreaming import Counted, play
from hallucade.evaluation.game_check.pong_tracker import PongTrack, join_tracks, track
from hallucade.evaluation.game_check.pong_truth import PongTruth
from hallucade.games.bots import make_bot
from hallucade.games.pong import (
    BALL_VX,
    BALL_VY,
    BALL_X,
    BALL_Y,
    CENTRE,
    OPPONENT_Y,
    PLAYER_Y,
    PONG_ACTIONS,
    STATE_NAMES,
)
from hallucade.rollout import World

SEGMENT = 250  # frames
INTACT = 0.95  # share of a segment's frames in which both paddles and exactly one ball are to be seen
STILL = 0.05  # court units a frame below which a ball does not fly toward anybody
PACE = (0.5, 2.0)  # of a true ball's, half of a segment's frames above and below; a still or flickering ball is no game


@dataclass(frozen=True)
class Survival:
    """What became of each game, and some of them to look at."""

    seen: PongTrack  # `g n`
    ball_speed: float  # of the true game, court units a frame
    video: UInt8[np.ndarray, "k n h w 3"]
    actions: Float32[np.ndarray, "k n c"]  # that led to these frames

    @property
    def alive(self) -> Bool[np.ndarray, "g segments"]:
        """Mark each segment up to which, itself included, a game was intact and moving in every one."""
        steps = np.hypot(np.diff(self.seen.ball_x, prepend=np.nan), np.diff(self.seen.ball_y, prepend=np.nan))
        pace = np.nan_to_num(steps, nan=0.0) / self.ball_speed
        parts = [slice(i, i + SEGMENT) for i in range(0, pace.shape[1], SEGMENT)]
        complete = np.stack([self.seen.complete[:, part].mean(1) for part in parts], 1)
        middle = np.stack([np.median(pace[:, part], 1) for part in parts], 1)
        return np.logical_and.accumulate((complete >= INTACT) & (middle >= PACE[0]) & (middle <= PACE[1]), 1)

    def metrics(self) -> dict[str, float]:
        """Return the share of games alive after each segment, and of frames with exactly one ball."""
        frames = self.seen.balls.shape[1]
        ends = [min((i + 1) * SEGMENT, frames) for i in range(self.alive.shape[1])]
        alive = {f"pong/survival@{end}": float(share) for end, share in zip(ends, self.alive.mean(0), strict=True)}
        return {**alive, f"pong/one_ball_share@{frames}": float(self.seen.one_ball.mean())}


def survive(world: World, truth: PongTruth, frames: int, shown: int, seed: int, counted: Counted) -> Survival:
    """Let the good bot play every game for `frames` frames of dream, and keep the pictures of the first `shown`."""
    bot = make_bot("good", PONG_ACTIONS, truth.count, seed)
    seen = [track(truth.frames(0, truth.prompt_frames))]
    speed = truth.rules.ball_speed
    actions, video = list[np.ndarray](), list[np.ndarray]()

    def hold() -> np.ndarray:
        actions.append(bot(_as_state(join_tracks(seen[-2:], axis=1), speed)))
        return actions[-1]

    for block in play(world, truth.prompts(), hold, frames, seed):
        seen.append(track(block))
        video.append(block[:shown])
        counted(block.shape[0] * block.shape[1])
    held = np.repeat(np.stack([rows[:shown] for rows in actions], 1), world.frames_per_step, 1)
    return Survival(
        join_tracks(seen[1:], axis=1).cut(0, frames), speed, np.concatenate(video, 1)[:, :frames], held[:, :frames]
    )


def _as_state(seen: PongTrack, speed: float) -> Float64[np.ndarray, "g s"]:
    """Read simulator states off the last two frames.

    What is not there counts as resting in the middle, and a ball without a velocity as flying to the opponent.
    """
    states = np.zeros((len(seen.balls), len(STATE_NAMES)))
    states[:, OPPONENT_Y], states[:, PLAYER_Y] = seen.opponent_y[:, -1], seen.player_y[:, -1]
    states[:, BALL_X], states[:, BALL_Y] = seen.ball_x[:, -1], seen.ball_y[:, -1]
    states = np.where(np.isnan(states), CENTRE, states)
    vx, vy = seen.ball_x[:, -1] - seen.ball_x[:, -2], seen.ball_y[:, -1] - seen.ball_y[:, -2]
    flies = np.abs(vx) > STILL  # false for NaN
    states[:, BALL_VX], states[:, BALL_VY] = np.where(flies, vx, -speed), np.where(flies, vy, 0)
    return states
