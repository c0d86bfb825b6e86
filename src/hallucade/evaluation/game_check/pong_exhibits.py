"""The curves and videos of the Pong check, for the report."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, UInt8

from hallucade.evaluation.comparison_video import comparison_video
from hallucade.evaluation.game_check.fidelity import ONE_BALL, PongErrors, ball_quantile
from hallucade.evaluation.game_check.pong_tracker import PongTrack
from hallucade.evaluation.game_check.pong_truth import PongTruth
from hallucade.evaluation.game_check.response import LAGS, PaddleResponse
from hallucade.evaluation.game_check.survival import SEGMENT, Survival
from hallucade.evaluation.result import Curve, Plot, Video
from hallucade.games.pong import PONG_ACTIONS

NAMES = {"": "dream", "observer_": "perfect observer", "copy_last_": "last frame kept"}
SURVIVAL_SHOWN = 300  # frames, taken from the end: what a long game looks like


def fidelity_plots(errors: Mapping[str, PongErrors], seen: PongTrack) -> tuple[Plot, ...]:
    """Draw errors and the number of balls over the horizon."""
    medians = [_over_frames(NAMES[who], ball_quantile(found, 0.5)) for who, found in errors.items()]
    ninths = [_over_frames(NAMES[who], ball_quantile(found, 0.9)) for who, found in errors.items()]
    paddles = [_over_frames(NAMES[who], found.player.mean(0)) for who, found in errors.items()]
    frames, pixels = "frames dreamed", "error, pixels of 24"
    return (
        Plot(
            "Ball, half of the games",
            frames,
            pixels,
            tuple(medians),
            "Median distance between the dreamed and the true ball, up to each game's first serve.",
            log=True,
        ),
        Plot(
            "Ball, nine games of ten",
            frames,
            pixels,
            tuple(ninths),
            "90th percentile. The dashed line is one ball: the valid horizon ends where the curve first crosses it.",
            ONE_BALL,
            log=True,
        ),
        Plot(
            "Player's paddle",
            frames,
            pixels,
            tuple(paddles),
            "Mean distance. The keys alone decide where this paddle is, so it should be right for ever.",
            0.5,
            log=True,
        ),
        Plot(
            "Exactly one ball",
            frames,
            "share of games",
            (_over_frames("dream", seen.one_ball.mean(0).astype(np.float64)),),
            "Share of the games that show one ball, neither none nor two, at each frame.",
        ),
    )


def response_plots(response: PaddleResponse) -> tuple[Plot, ...]:
    """Draw how far the paddle goes under held keys, and how late it answers to switching ones."""
    along = np.array([-1.0, 1.0])[:, None, None]  # up, down: toward where the key points
    paths = {"dream": response.held, "true game": response.held_truth}
    curves = [_from_start(who, (along * path).mean((0, 1))) for who, path in paths.items()]
    lags = Curve("dream", tuple(float(lag) for lag in LAGS), tuple(response.correlation().tolist()))
    return (
        Plot(
            "A held key",
            "frames since the key went down",
            "pixels of 24",
            tuple(curves),
            "How far the player's paddle has gone where the key points, on average; walls stop it in both games alike.",
        ),
        Plot(
            "Lag",
            "frames by which the dream is late",
            "correlation",
            (lags,),
            "Correlation of dreamed and true paddle velocity under random switching; the peak is the lag.",
        ),
    )


def survival_plot(survival: Survival) -> Plot:
    """Draw how many games are still intact."""
    alive, n = survival.alive, survival.seen.balls.shape[1]
    ends = [0.0, *(float(min((i + 1) * SEGMENT, n)) for i in range(alive.shape[1]))]
    return Plot(
        "Survival",
        "frames played by a bot that sees only the dream",
        "share of games",
        (Curve("alive", tuple(ends), (1.0, *alive.mean(0).tolist())),),
        f"A game is alive while each {SEGMENT} frames show both paddles and exactly one ball in 95% of them, and the "
        "ball moves as fast as it should, give or take a factor of two.",
    )


def beside_video(
    truth: PongTruth, dreamed: UInt8[np.ndarray, "g n h w 3"], observer: Float64[np.ndarray, "b t s"], fps: float
) -> Video:
    """Show the first games, true and dreamed, from the last real frame on."""
    g, n = dreamed.shape[:2]
    first = truth.prompt_frames - 1
    few = truth.games(slice(g))
    real = few.frames(first, first + 1 + n)
    expected = few.following(observer[:g]).frames(first, first + 1 + n)
    rows = {"real": real, "perfect observer": expected, "dream": np.concatenate([real[:, :1], dreamed], 1)}
    return Video(
        "The same keys in the true game and in the dream",
        comparison_video(rows, PONG_ACTIONS, few.future_actions[:, :n]),
        fps,
        "Raw frames of the true game; what the perfect observer expects; and the dream. They may part after a serve, "
        "which is drawn by chance.",
    )


def survival_video(survival: Survival, fps: float) -> Video:
    """Show the end of some long games."""
    frames = survival.video[:, -SURVIVAL_SHOWN:]
    held = survival.actions[:, -frames.shape[1] :][:, 1:]  # the first led to the first frame
    total = survival.video.shape[1]
    return Video(
        f"Frames {total - frames.shape[1]} to {total} of games that were dreamed throughout",
        comparison_video({"dream": frames}, PONG_ACTIONS, held),
        fps,
        "The player is a bot that sees nothing but these pictures.",
    )


def _over_frames(name: str, values: Float64[np.ndarray, "t"]) -> Curve:
    return Curve(name, tuple(float(t) for t in range(1, len(values) + 1)), tuple(values.tolist()))


def _from_start(name: str, path: Float64[np.ndarray, "t"]) -> Curve:
    return Curve(name, tuple(float(t) for t in range(len(path) + 1)), (0.0, *path.tolist()))
