"""The Pong check: one dreamed Pong judged by the state of the true one.

From the same real frames and under the same actions, how long is the dream right (fidelity), does it keep the laws
(rules), does it obey (response, action swap), and does it last (survival)?
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from hallucade.config import Config
from hallucade.evaluation.game_check.action_swap import action_swap
from hallucade.evaluation.game_check.dreaming import Counted, dream_batches
from hallucade.evaluation.game_check.fidelity import (
    LOST_BALL,
    LOST_PADDLE,
    PongErrors,
    enough,
    error_metrics,
    errors_of_copy,
    errors_of_states,
    errors_of_track,
    valid_horizon,
)
from hallucade.evaluation.game_check.pong_exhibits import (
    beside_video,
    fidelity_plots,
    response_plots,
    survival_plot,
    survival_video,
)
from hallucade.evaluation.game_check.pong_observer import foretell
from hallucade.evaluation.game_check.pong_tracker import PongTrack, join_tracks, track, tracker_floor
from hallucade.evaluation.game_check.pong_truth import PongTruth, held_out_games
from hallucade.evaluation.game_check.response import paddle_response
from hallucade.evaluation.game_check.rules import violations
from hallucade.evaluation.game_check.survival import INTACT, SEGMENT, survive
from hallucade.evaluation.picture_scores import PictureScores
from hallucade.evaluation.result import Evaluation, Progress, silent
from hallucade.games.pong import PONG_ACTIONS, PongConfig
from hallucade.rollout import World

LEAD = 2  # real frames before the dream that start the motion for the rules


@dataclass(frozen=True, kw_only=True)
class PongCheckConfig(Config):
    """How much to dream; the defaults are what published figures use.

    Raises:
        ValueError: a number that leaves nothing to measure.
    """

    rollouts: int = 256
    horizon: int = 256  # frames dreamed under the true actions
    prompt_frames: int = 8
    warm_up: tuple[int, int] = (8, 240)  # frames played before a prompt, drawn: serves and rallies are both met
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # at which errors and picture scores are reported
    hold: int = 8  # frames for which up, down and stay are held
    switching: int = 64  # frames of random switching, for the lag
    response_rollouts: int = 96
    swap_frames: int = 16  # frames under another game's actions
    survival_rollouts: int = 64
    survival_frames: int = 1000
    batch: int = 64  # prompts dreamed at a time
    shown: int = 4  # games in the video
    shown_frames: int = 192
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1 or max(self.horizons) > self.horizon:
            raise ValueError(f"horizons are {self.horizons}; give one or more between 1 and horizon {self.horizon}")
        if self.prompt_frames < LEAD:
            raise ValueError(f"prompt_frames is {self.prompt_frames}; the check needs {LEAD} or more")
        if not 0 <= self.warm_up[0] <= self.warm_up[1]:
            raise ValueError(f"warm_up is {self.warm_up}; give the least and the most frames, 0 or more")
        if not 2 <= self.swap_frames <= self.horizon:
            raise ValueError(f"swap_frames is {self.swap_frames}; choose 2 to horizon {self.horizon}")
        if self.survival_frames in (*self.horizons, self.horizon):
            raise ValueError(f"survival_frames is {self.survival_frames}, a horizon too; the scores would share names")
        if self.response_rollouts > self.rollouts:
            raise ValueError(f"response_rollouts is {self.response_rollouts}; use at most rollouts, {self.rollouts}")
        for name in ("rollouts", "response_rollouts", "survival_rollouts"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}; statistics need 2 or more")
        for name, least in (("hold", 2), ("switching", 16), ("survival_frames", 1), ("batch", 1), ("shown", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; use {least} or more")

    @classmethod
    def quick(cls) -> "PongCheckConfig":
        """Return the demo's check: the same measurements on a quarter of the games, so coarser percentiles."""
        return cls(rollouts=64, response_rollouts=32, survival_rollouts=16)

    @property
    def frames(self) -> int:
        """Frames that the whole check dreams."""
        held = 3 * self.hold + self.switching
        return (
            self.rollouts * (self.horizon + self.swap_frames)
            + self.response_rollouts * held
            + self.survival_rollouts * self.survival_frames
        )


def evaluate_pong(world: World, config: PongCheckConfig | None = None, progress: Progress = silent) -> Evaluation:
    """Judge a dreamed Pong.

    Metrics are named ``pong/<what>@<frames>``; ``_px`` is court units, of which a 24-pixel picture has one a pixel.

    Raises:
        ValueError: `world` does not dream Pong's pictures or actions, or reads prompts of another length.
    """
    config = config or PongCheckConfig()
    rules = _rules_of(world, config)
    counted = _Counter(config.frames, progress)
    truth = held_out_games(rules, config.rollouts, config.prompt_frames, config.horizon, config.warm_up, config.seed)
    beside = _dream_beside(world, truth, config, counted.stage("dreaming beside the true game"))
    few = truth.games(slice(config.response_rollouts))
    stage = counted.stage("holding keys")
    response = paddle_response(world, few, config.hold, config.switching, config.batch, config.seed, stage)
    stage = counted.stage("swapping actions")
    swapped = action_swap(world, truth, config.swap_frames, config.horizons, config.batch, config.seed, stage)
    starts = held_out_games(rules, config.survival_rollouts, config.prompt_frames, 1, config.warm_up, config.seed + 1)
    stage = counted.stage("playing on in the dream")
    survival = survive(world, starts, config.survival_frames, config.shown, config.seed, stage)

    observer = foretell(truth)
    errors = {
        "": errors_of_track(beside.seen, truth),
        "observer_": errors_of_states(observer, truth),
        "copy_last_": errors_of_copy(truth),
    }
    floor = tracker_floor(rules)
    metrics = _error_metrics(errors, config.horizons)
    metrics |= _rule_metrics(beside, rules)
    metrics |= _one_ball_shares(beside.seen, config)
    metrics |= beside.pictures.metrics("pong/")
    metrics |= response.metrics()
    metrics |= swapped.metrics(errors[""], beside.pictures, floor["paddle_mean"])
    metrics |= survival.metrics()
    metrics |= {f"pong/tracker_{name}": value for name, value in floor.items()}
    plots = (*fidelity_plots(errors, beside.seen), *response_plots(response), survival_plot(survival))
    videos = (beside_video(truth, beside.shown, observer, world.fps), survival_video(survival, world.fps))
    return Evaluation(metrics, plots, videos, _protocol(config, truth, floor))


@dataclass(frozen=True)
class _Beside:
    """What the main rollouts left behind once their pictures were read; tracks start `LEAD` real frames early."""

    dream_track: PongTrack  # `b lead+horizon`
    real_track: PongTrack
    pictures: PictureScores
    shown: UInt8[np.ndarray, "g n h w 3"]

    @property
    def seen(self) -> PongTrack:
        """The dream alone, `b horizon`."""
        return self.dream_track.cut(LEAD)


def _dream_beside(world: World, truth: PongTruth, config: PongCheckConfig, counted: Counted) -> _Beside:
    """Dream every game under its true actions."""
    pictures = PictureScores(config.horizons)
    dreamed_tracks, real_tracks, shown = list[PongTrack](), list[PongTrack](), list[np.ndarray]()
    first, last = truth.prompt_frames - LEAD, truth.prompt_frames + truth.horizon
    batches = dream_batches(world, truth.prompts(), truth.future_actions, config.batch, config.seed, counted)
    for rows, dreamed in batches:
        real = truth.games(rows).frames(first, last)
        pictures.add(dreamed, real[:, LEAD - 1 :])
        real_tracks.append(track(real))
        dreamed_tracks.append(track(np.concatenate([real[:, :LEAD], dreamed], 1)))
        shown.append(dreamed[: config.shown, : config.shown_frames])
    return _Beside(
        join_tracks(dreamed_tracks, axis=0),
        join_tracks(real_tracks, axis=0),
        pictures,
        np.concatenate(shown)[: config.shown],
    )


def _error_metrics(errors: Mapping[str, PongErrors], horizons: tuple[int, ...]) -> dict[str, float]:
    metrics = dict[str, float]()
    for who, found in errors.items():
        metrics |= error_metrics(found, horizons, who)
    own, observer = valid_horizon(errors[""]), valid_horizon(errors["observer_"])
    metrics |= {"pong/valid_horizon": own, "pong/valid_horizon_observer": observer}
    return {**metrics, "pong/valid_horizon_share": own / max(observer, 1)}


def _rule_metrics(beside: _Beside, rules: PongConfig) -> dict[str, float]:
    dreamed, real = (violations(seen, rules, LEAD) for seen in (beside.dream_track, beside.real_track))
    return {
        **{f"pong/violations_per_1000/{rule}": rate for rule, rate in dreamed.per_1000().items()},
        **{f"pong/real_violations_per_1000/{rule}": rate for rule, rate in real.per_1000().items()},
        "pong/frames_to_violation": dreamed.frames_to_first(),
    }


def _one_ball_shares(seen: PongTrack, config: PongCheckConfig) -> dict[str, float]:
    """Return the share of all frames up to some horizons that show exactly one ball, and how crisp it is there."""
    ends = sorted({*config.horizons, config.horizon})
    shares = {f"pong/one_ball_share@{h}": float(seen.one_ball[:, :h].mean()) for h in ends}
    sharp = {f"pong/ball_sharpness@{h}": float(seen.ball_sharpness[:, h - 1].mean()) for h in ends}
    return {**shares, **sharp}


def _rules_of(world: World, config: PongCheckConfig) -> PongConfig:
    """Return the rules of the true game in this world's pictures, once it is sure that they are Pong's."""
    height, width = world.frame_size
    if height != width:
        raise ValueError(f"the model dreams {height}x{width} pixels; Pong's court is square, so this is another game")
    if difference := PONG_ACTIONS.difference(world.actions):
        raise ValueError(f"the model does not play Pong: {difference}; judge it on recorded clips instead")
    grain = world.model.grain * world.tokenizer.stride
    if config.prompt_frames % grain:
        raise ValueError(
            f"prompt_frames is {config.prompt_frames}, the model reads {grain} frames at a time; choose a multiple"
        )
    return PongConfig(frame_size=height)


def _protocol(config: PongCheckConfig, truth: PongTruth, floor: Mapping[str, float]) -> dict[str, str]:
    low, high = config.warm_up
    left = ", ".join(f"{int(truth.before_serve[:, h - 1].sum())} at {h}" for h in config.horizons)
    return {
        "Pong: starts": f"{config.rollouts} held-out games, seed {config.seed}, after {low} to {high} frames of warm-"
        "up by the mixture of bots that recordings use",
        "Pong: prompt": f"{config.prompt_frames} real frames without a serve; then the true actions",
        "Pong: ball and opponent": f"count until the first serve of the true game, which nobody can foresee: {left} "
        f"frames; a horizon with fewer than {enough(config.rollouts)} games left is not reported",
        "Pong: lost objects": f"a ball that is not there is {LOST_BALL:.1f} px off (the diagonal), a paddle "
        f"{LOST_PADDLE:.0f} px; of several balls the largest is compared",
        "Pong: tracker": f"its own error on real frames: ball {floor['ball_mean']:.4f} px on average, "
        f"{floor['ball_max']:.3f} at most; paddles {floor['paddle_mean']:.4f} and {floor['paddle_max']:.3f}",
        "Pong: response": f"{config.response_rollouts} starts, keys held for {config.hold} frames where no wall stops "
        f"the paddle, then switched at random for {config.switching}",
        "Pong: survival": f"{config.survival_rollouts} games of {config.survival_frames} frames, played by a bot that "
        f"sees only the dream; alive while every {SEGMENT} frames show both paddles and one ball in {INTACT:.0%}",
    }


class _Counter:
    """Turns frames dreamed into the share of the whole check that is done."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def stage(self, name: str) -> Counted:
        """Return what a stage reports its frames to."""

        def counted(frames: int) -> None:
            self._done += frames
            self._progress(name, min(self._done / self._total, 1.0))

        return counted
