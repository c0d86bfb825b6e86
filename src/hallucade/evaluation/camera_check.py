"""Is a camera model worth anything? Real play that it was not fitted to, under its own actions and under wrong ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hallucade.data.checks.motion_sample import plan_spans
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.camera_flow import CameraModel, CameraMotion
from hallucade.evaluation.metrics.flow_error import FlowErrors, flow_errors, smoothed
from hallucade.evaluation.metrics.optical_flow import FlowEstimator, Flows, reliable_flow
from hallucade.evaluation.result import Progress, silent
from hallucade.shapes import ActionRows

REAL = "real play"
STRETCH = 64  # pairs of frames whose flow is held at a time
WORST = 95  # percentile of real play's errors over five pairs; beyond it a player brushes a wall, or a dream is lost


@dataclass(frozen=True)
class CameraCheck:
    """What the score says of play whose quality is known."""

    camera: CameraModel  # with its usual and its worst error
    split: str
    pairs: int
    scores: dict[str, dict[str, float]]  # of "real play" and of three that are wrong: means over pairs, by name


def check_camera(
    camera: CameraModel,
    store: EpisodeStore,
    pairs: int,
    estimator: FlowEstimator = reliable_flow,
    progress: Progress = silent,
) -> CameraCheck:
    """Score about `pairs` pairs of held-out real play, of all play where nothing is held out."""
    split = "validation" if store.indices("validation") else "train"
    spans = plan_spans(store, pairs, set(range(len(store))) - set(store.indices(split)))
    found = defaultdict[str, list[FlowErrors]](list)
    total, done = sum(span.pairs for span in spans), 0
    for span in spans:
        for start in range(span.first, span.first + span.pairs, STRETCH):
            count = min(STRETCH, span.first + span.pairs - start)
            read = store.read(span.episode, start, count + 1)
            rows, measured = np.asarray(read.actions, np.float32), estimator(np.asarray(read.frames))
            for who, (expected, seen) in _plays(camera, store, rows, measured).items():
                found[who].append(flow_errors(expected, seen))
            done += count
            progress("judging real play", done / total)
    scores = {who: _means(errors) for who, errors in found.items()}
    smooth = np.concatenate([smoothed(errors.epe) for errors in found[REAL]])
    usual = scores[REAL].get("epe", 0.0)
    worst = max(usual, float(np.percentile(smooth, WORST))) if len(smooth) else usual
    return CameraCheck(replace(camera, usual_error=usual, worst_error=worst), split, total, scores)


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
        "standing still": (expected, 0 * measured),
    }


def _turned_back(motion: CameraMotion) -> CameraMotion:
    up, right, roll = motion.turn
    return replace(motion, turn=(-up, -right, -roll))


def _means(errors: Sequence[FlowErrors]) -> dict[str, float]:
    """Return means over all pairs, of what is known of any."""
    series = {name: np.concatenate([part.named()[name] for part in errors]) for name in errors[0].named()}
    return {name: float(np.nanmean(values)) for name, values in series.items() if np.isfinite(values).any()}
