import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving_scene import ACTIONS, Scene, film, play

from hallucade.actions import ActionSpace, Axis, Button
from hallucade.data.episode import Episode
from hallucade.data.manifest import StoreColumn, StoreManifest
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter
from hallucade.evaluation.camera_calibration import GRID, Play, calibrate, measure_play
from hallucade.evaluation.camera_check import REAL, check_camera
from hallucade.evaluation.camera_flow import CameraModel, CameraMotion, read_camera
from hallucade.evaluation.flow_score import FlowScores, flow_score
from hallucade.evaluation.metrics.flow_error import focus_of_expansion
from hallucade.evaluation.recorded_clips import ClipCheckConfig

H, W = 10, 14
WALK = ActionSpace(
    buttons=(Button(name="forward"), Button(name="right")),
    axes=(
        Axis(name="yaw", low=-20, high=20, kind="delta", turns="right"),
        Axis(name="pitch", low=-20, high=20, kind="delta", turns="up"),
    ),
)
CAMERA = CameraModel(
    focal=9.0,
    frame_size=(H, W),
    motions=(
        CameraMotion(signal="forward", shift=(0.0, 0.0, 0.05)),
        CameraMotion(signal="right", shift=(0.03, 0.0, 0.0)),
        CameraMotion(signal="yaw", turn=(0.0, 0.02, 0.0)),
        CameraMotion(signal="pitch", turn=(0.01, 0.0, 0.0)),
    ),
)


def expected(forward: float = 0, right: float = 0, yaw: float = 0, pitch: float = 0, factor: int = 1) -> np.ndarray:
    rows = np.array([[forward, right, yaw, pitch]], np.float32)
    return CAMERA.expected(WALK, rows, (H * factor, W * factor))[0]


def places() -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(np.arange(W) + 0.5 - W / 2, np.arange(H) + 0.5 - H / 2)


def test_a_turn_to_the_right_moves_the_picture_to_the_left_and_most_at_its_sides() -> None:
    x, y = places()
    flow = expected(yaw=2)
    np.testing.assert_allclose(flow[..., 0], -0.04 * (9 + x**2 / 9), rtol=1e-5)
    np.testing.assert_allclose(flow[..., 1], -0.04 * x * y / 9, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(expected(yaw=-2), -flow)


def test_a_look_up_moves_the_picture_down() -> None:
    x, y = places()
    flow = expected(pitch=3)
    np.testing.assert_allclose(flow[..., 1], 0.03 * (9 + y**2 / 9), rtol=1e-5)
    np.testing.assert_allclose(flow[..., 0], 0.03 * x * y / 9, rtol=1e-5, atol=1e-7)


def test_walking_ahead_moves_the_picture_away_from_its_middle() -> None:
    x, y = places()
    np.testing.assert_allclose(expected(forward=1), 0.05 * np.stack([x, y], -1), rtol=1e-5)
    assert focus_of_expansion(expected(forward=1)) == pytest.approx((0, 0), abs=1e-5)
    # Walking ahead and to the side, one heads for a place beside the middle: f Tx / Tz = 9 * 0.03 / 0.05.
    assert focus_of_expansion(expected(forward=1, right=1)) == pytest.approx((5.4, 0), abs=1e-4)
    assert focus_of_expansion(expected(right=1)) is None


def test_flow_grows_with_the_picture_and_stays_the_same_in_shares_of_it() -> None:
    small, large = expected(1, 1, 2, 3), expected(1, 1, 2, 3, factor=3)
    np.testing.assert_allclose(large[1::3, 1::3], 3 * small, rtol=1e-5, atol=1e-6)
    assert CAMERA.focal_at(3 * W) == 27


def test_motions_add_up() -> None:
    np.testing.assert_allclose(expected(1, 0, 2, -1), expected(1) + expected(yaw=2) + expected(pitch=-1), atol=1e-6)


def test_a_camera_of_another_game_is_refused() -> None:
    with pytest.raises(ValueError, match="moves by 'forward', and these actions have right, fire, yaw, pitch"):
        CAMERA.expected(ACTIONS, np.zeros((1, 4), np.float32), (H, W))


def test_a_camera_travels_as_json_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.camera.json"
    with pytest.raises(ValueError, match="there is no camera model"):
        read_camera(path)
    path.write_text(json.dumps(CAMERA.to_json()))
    assert read_camera(path) == CAMERA
    path.write_text(json.dumps({**CAMERA.to_json(), "focus": 3}))
    with pytest.raises(ValueError, match=r"unknown field\(s\) focus"):
        read_camera(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="no camera model but a list"):
        read_camera(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="cannot be read as a camera model"):
        read_camera(path)
    with pytest.raises(ValueError, match="focal is -1"):
        replace(CAMERA, focal=-1.0)
    with pytest.raises(ValueError, match="'yaw' is given twice"):
        replace(CAMERA, motions=(CAMERA.motions[2],) * 2)


def played(rng: np.random.Generator, n: int = 240) -> Play:
    """Return rows and the flow that CAMERA makes of them, with places that are wrong and walls that stop a player."""
    rows = np.concatenate([rng.integers(0, 2, (n, 2)), rng.integers(-4, 5, (n, 2))], 1).astype(np.float32)
    size = (GRID * 5, GRID * 7)
    moved = rows.copy()
    moved[::6, :2] = 0  # a wall: what is held does not happen
    flows = CAMERA.expected(WALK, moved, size).reshape(n, GRID, 5, GRID, 7, 2)[:, :, 2, :, 3].reshape(n, GRID**2, 2)
    wrong = rng.random((n, GRID**2)) < 0.3
    return Play(rows, np.where(wrong[..., None], rng.normal(0, 9, flows.shape), flows).astype(np.float32), size)


def test_calibration_finds_the_camera_behind_outliers_and_walls(tmp_path: Path, rng: np.random.Generator) -> None:
    store = write_play(tmp_path / "store", rng, 6, WALK)
    found = calibrate(store, played(rng))
    assert found.camera.focal == pytest.approx(CAMERA.focal_at(GRID * 7), rel=0.02)
    terms = {motion.signal: motion.terms for motion in found.camera.motions}
    for motion in CAMERA.motions:
        np.testing.assert_allclose(terms[motion.signal], motion.terms, atol=1.5e-3)
    assert found.explained > 0.9
    told = calibrate(store, played(rng), focal=40.0).camera
    assert told.focal == 40


def test_rest_between_turns_does_not_hide_the_camera(tmp_path: Path, rng: np.random.Generator) -> None:
    store, play = write_play(tmp_path / "store", rng, 6, WALK), played(rng, 600)
    rests = rng.random(len(play.rows)) < 0.7
    trembling, noise = rng.normal(0, 0.005, play.rows.shape), rng.normal(0, 2, play.flows.shape)
    rows = np.where(rests[:, None], trembling, play.rows).astype(np.float32)
    flows = np.where(rests[:, None, None], 0.01 * noise, play.flows + noise).astype(np.float32)
    found = calibrate(store, Play(rows, flows, play.frame_size))
    assert found.camera.focal == pytest.approx(CAMERA.focal_at(GRID * 7), rel=0.05)
    yaw = next(motion for motion in found.camera.motions if motion.signal == "yaw")
    np.testing.assert_allclose(yaw.terms, CAMERA.motions[2].terms, atol=2e-3)
    assert found.explained > 0.2


def write_play(
    folder: Path, rng: np.random.Generator, n: int, actions: ActionSpace = ACTIONS, still: bool = False
) -> EpisodeStore:
    """Write two episodes of n actions of the turning scene, one a split."""
    takes = [play(rng, n) for _ in range(2)]
    frames = [film(Scene(painted=0.0), rows, rng)[0] for rows in takes]
    if still:
        frames = [np.repeat(taken[:1], len(taken), 0) for taken in frames]
    columns = (StoreColumn.like("frames", frames[0]), StoreColumn.like("actions", takes[0]))
    with StoreWriter(folder, StoreManifest(actions=actions, columns=columns, fps=20.0)) as writer:
        episodes = [Episode(taken, rows) for taken, rows in zip(frames, takes, strict=True)]
        writer.append(episodes, splits=["train", "validation"])
    return EpisodeStore(folder)


def test_a_calibrated_camera_tells_right_play_from_wrong_play(tmp_path: Path, rng: np.random.Generator) -> None:
    store = write_play(tmp_path / "store", rng, 80)
    camera = calibrate(store, measure_play(store, 80, "train")).camera
    yaw, pitch = (next(m for m in camera.motions if m.signal == name) for name in ("yaw", "pitch"))
    pixels = 56 / 70  # that the scene shifts for a degree
    assert camera.focal * yaw.turn[1] == pytest.approx(pixels, rel=0.1)
    assert camera.focal * pitch.turn[0] == pytest.approx(pixels, rel=0.1)
    check = check_camera(camera, store, 80)
    real, others = check.scores[REAL], [score for who, score in check.scores.items() if who != REAL]
    assert check.split == "validation"
    assert len(others) == 3
    assert real["cosine"] > 0.9
    assert all(score["epe"] > 2 * real["epe"] for score in others)
    assert all(score["cosine"] < 0.5 for score in others)
    assert check.camera.usual_error == real["epe"]
    assert check.camera.worst_error > check.camera.usual_error

    seen = store.read(1, 0, 41)
    frames, rows = np.asarray(seen.frames), np.asarray(seen.actions)
    assert flow_score(check.camera, ACTIONS, frames, rows).onset is None
    lost = np.concatenate([frames[:21], np.repeat(frames[20:21], 20, 0)])
    assert flow_score(check.camera, ACTIONS, lost, rows).values()["flow_epe"] > 2 * real["epe"]
    with pytest.raises(ValueError, match="39 actions for 41 frames; pass 40"):
        flow_score(check.camera, ACTIONS, frames, rows[:39])

    gathered = FlowScores(check.camera, ACTIONS)
    gathered.add(np.stack([frames, lost]), np.stack([frames, frames]), np.stack([rows, rows]))
    metrics = gathered.across_ranks().metrics("clips/")
    assert metrics["clips/flow_epe_real"] == flow_score(check.camera, ACTIONS, frames, rows).values()["flow_epe"]
    assert metrics["clips/flow_epe"] > 1.5 * metrics["clips/flow_epe_real"]


def test_an_evaluation_looks_at_its_camera_first(tmp_path: Path) -> None:
    assert ClipCheckConfig().flow_scores(WALK) is None
    with pytest.raises(ValueError, match="there is no camera model"):
        ClipCheckConfig(camera=str(tmp_path / "gone.json")).flow_scores(WALK)
    path = tmp_path / "a.camera.json"
    path.write_text(json.dumps(CAMERA.to_json()))
    assert ClipCheckConfig(camera=str(path)).flow_scores(WALK) is not None
    with pytest.raises(ValueError, match="moves by 'forward'"):
        ClipCheckConfig(camera=str(path)).flow_scores(ACTIONS)


def test_play_that_tells_nothing_of_a_camera_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    blind = replace(ACTIONS, axes=tuple(replace(axis, turns=None) for axis in ACTIONS.axes))
    store = write_play(tmp_path / "blind", rng, 60, blind)
    with pytest.raises(ValueError, match=r"no control of .* is said to turn the view"):
        measure_play(store, 60, "train")
    store = write_play(tmp_path / "still", rng, 60, still=True)
    measured = measure_play(store, 60, "train")
    with pytest.raises(ValueError, match=r"the pictures of .* do not move"):
        calibrate(store, measured)
    idle = replace(measured, rows=np.zeros_like(measured.rows))
    with pytest.raises(ValueError, match=r"nobody turns the view \(yaw, pitch\) in 60 actions"):
        calibrate(store, idle)
    with pytest.raises(ValueError, match="has 30 pairs of frames for train; a camera is fitted to 50 or more"):
        measure_play(write_play(tmp_path / "short", rng, 30), 60, "train")
