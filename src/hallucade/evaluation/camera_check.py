"""Is a camera model worth anything? Real play that it was not fitted to, under its own actions and under wrong ones."""

from dataclasses import dataclass, replace

import numpy as np

from hallucade.data.checks.motion_sample import plan_spans
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.camera_flow import CameraModel, CameraMotion
from hallucade.evaluation.flow_score import compared
from hallucade.evaluation.metrics.flow_error import smoothed
from hallucade.evaluation.metrics.optical_flow import FlowEstimator, Flows, dis_flow
from hallucade.evaluation.result import Progress, silent
from hallucade.evaluation.tally import Tally
from hallucade.shapes import ActionRows

REAL = "real play"
STRETCH = 64  # pairs of frames that are judged as one video
WORST = 99.5  # percentile of real play's errors over five pairs: dreams beyond it have lost the game


@dataclass(frozen=True)
class CameraCheck:
    """What the score says of play whose quality is known."""

    camera: CameraModel  # with its usual and its worst error
    split: str
    pairs: int
    scores: dict[str, dict[str, float]]  # who plays: "real play" and three that are wrong


def check_camera(
    camera: CameraModel,
    store: EpisodeStore,
    pairs: int,
    estimator: FlowEstimator = dis_flow,
    progress: Progress = silent,
) -> CameraCheck:
    """Score about `pairs` pairs of held-out real play, of all play where nothing is held out."""
    split = "validation" if store.indices("validation") else "train"
    spans = plan_spans(store, pairs, set(range(len(store))) - set(store.indices(split)))
    tallies: dict[str, Tally] = {}
    errors, smooth, total, done = list[np.ndarray](), list[np.ndarray](), sum(s.pairs for s in spans), 0
    for span in spans:
        for start in range(span.first, span.first + span.pairs, STRETCH):
            count = min(STRETCH, span.first + span.pairs - start)
            read = store.read(span.episode, start, count + 1)
            rows, measured = np.asarray(read.actions, np.float32), estimator(np.asarray(read.frames))
            for who, (expected, seen) in _plays(camera, store, rows, measured).items():
                score = compared(camera, expected, seen)
                tallies.setdefault(who, Tally()).add(score.values())
                if who == REAL:
                    errors.append(score.errors.epe)
                    smooth.append(smoothed(score.errors.epe))
            done += count
            progress("judging real play", done / total)
    usual, worst = float(np.nanmean(np.concatenate(errors))), _percentile(np.concatenate(smooth))
    judged = replace(camera, usual_error=usual, worst_error=max(worst, usual))
    return CameraCheck(judged, split, total, {who: tally.means() for who, tally in tallies.items()})


def _plays(
    camera: CameraModel, store: EpisodeStore, rows: ActionRows, measured: Flows
) -> dict[str, tuple[Flows, Flows]]:
    """Return expected and measured flow of real play, and of three that are wrong."""
    other_way = replace(camera, motions=tuple(_turned_back(motion) for motion in camera.motions))
    expected = camera.expected(store.actions, rows, store.frame_size)
    return {
        REAL: (expected, measured),
        "turns the other way": (other_way.expected(store.actions, rows, store.frame_size), measured),
        "other actions": (np.roll(expected, len(expected) // 2, 0), measured),
        "standing still": (expected, np.zeros_like(measured)),
    }


def _turned_back(motion: CameraMotion) -> CameraMotion:
    up, right, roll = motion.turn
    return replace(motion, turn=(-up, -right, -roll))


def _percentile(values: np.ndarray) -> float:
    return float(np.percentile(values, WORST)) if len(values) else 0.0
