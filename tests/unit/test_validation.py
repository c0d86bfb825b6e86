"""Validation sets in files, and what becomes of a set of dreams: videos, numbers, failures, ranks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from echo_world import echo_world
from PIL import Image

from hallucade.data.pictures import write_mp4
from hallucade.evaluation.camera_flow import CameraModel, CameraMotion
from hallucade.evaluation.rollout_scores import Judge, RolloutScores
from hallucade.evaluation.tally import Tally
from hallucade.evaluation.validation import ValidationConfig, validate_dreams, write_summary
from hallucade.evaluation.validation_set import read_validation_set
from hallucade.recipes.validation import make_validation
from hallucade.rollout import World

H, W, N = 20, 26, 7
CAMERA = CameraModel(focal=9.0, frame_size=(H, W), motions=(CameraMotion(signal="move=up", turn=(0.1, 0.0, 0.0)),))


@pytest.fixture
def world() -> World:
    return echo_world(H, W, game=None)


@pytest.fixture
def judge(world: World) -> Judge:
    return Judge(world.actions, world.fps, CAMERA)


def write_set(folder: Path, rng: np.random.Generator, **changes: Any) -> Path:
    """Write a file of two entries, the first one with `changes`, and all that they name."""
    (folder / "files").mkdir(exist_ok=True)
    frames = rng.integers(0, 256, (N + 1, H, W, 3), np.uint8)
    Image.fromarray(frames[0]).save(folder / "files/start.png")
    np.save(folder / "files/keys.npy", rng.integers(0, 3, (N, 1)).astype(np.float32))
    np.save(folder / "files/play.npy", frames)
    first = {"image": "files/start.png", "actions": "files/keys.npy", "truth": "files/play.npy", "prompt": "a court"}
    second = {"image": "files/start.png", "actions": "files/keys.npy", "frames": 3, "name": "short"}
    first |= changes
    entries = [{key: value for key, value in first.items() if value is not None}, second]
    path = folder / "set.json"
    path.write_text(json.dumps({"data": entries}))
    return path


def test_a_set_is_read_with_paths_from_its_own_folder(tmp_path: Path, world: World, rng: np.random.Generator) -> None:
    first, second = read_validation_set(write_set(tmp_path, rng), world)
    frames = np.load(tmp_path / "files/play.npy")
    np.testing.assert_array_equal(first.prompt.frames, frames[:1])
    assert first.truth is not None
    np.testing.assert_array_equal(first.truth, frames[1:])
    assert (first.name, first.text, first.rows.shape) == ("start", "a court", (N, 1))
    assert (second.name, second.truth, second.rows.shape) == ("short", None, (3, 1))


def test_the_truth_may_be_a_video(tmp_path: Path, world: World, rng: np.random.Generator) -> None:
    path = write_set(tmp_path, rng, truth="play.mp4", frames=5)
    grey = np.broadcast_to(np.arange(N + 1, dtype=np.uint8)[:, None, None, None] * 30, (N + 1, H, W, 3))
    write_mp4(tmp_path / "play.mp4", grey, 30.0)
    truth = read_validation_set(path, world)[0].truth
    assert truth is not None
    np.testing.assert_allclose(truth.mean((1, 2, 3)), np.arange(1, 6) * 30, atol=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "gone.png"}, r"entry 1: there is no image .*gone.png; paths are relative"),
        ({"image": "files/keys.npy"}, r"keys.npy is no picture that can be read; save it as PNG"),
        ({"image": "wide.png"}, r"wide.png is 20x30 pixels, the model dreams 20x26 \(height x width\); resize it"),
        ({"actions": "gone.npy"}, r"there are no actions .*gone.npy"),
        ({"actions": "files/start.png"}, r"start.png is no plain .npy array"),
        ({"actions": "wrong.npy"}, r"action column 'move' is 7"),
        ({"actions": "wide.npy"}, r"action rows have shape \(7, 2\)"),
        ({"actions": "objects.npy"}, r"is no plain .npy array"),
        ({"frames": 9}, r"frames is 9, and .* holds 7 actions; dream 1 to 7 frames"),
        ({"frames": "3"}, r"ValidationItem.frames is '3'"),
        (
            {"keys": "files/keys.npy"},
            r"entry 1: unknown field\(s\) keys in ValidationItem; known fields: image, actions",
        ),
        ({"actions": None}, r"missing field\(s\) actions"),
        ({"truth": "short.npy"}, r"short.npy has 7 frames for 7 actions; give the image and one an action"),
        ({"truth": "files/keys.npy"}, r"holds float32 of shape \(7, 1\); save uint8 frames"),
        ({"name": "short"}, r"entry 2: the name 'short' is taken"),
        ({"name": "a/b"}, r"the name 'a/b' is no file name"),
    ],
)
def test_what_is_wrong_with_a_set_is_one_line(
    tmp_path: Path, world: World, rng: np.random.Generator, changes: dict[str, Any], message: str
) -> None:
    path = write_set(tmp_path, rng, **changes)
    Image.new("RGB", (30, 20)).save(tmp_path / "wide.png")
    np.save(tmp_path / "wrong.npy", np.full((N, 1), 7.0))
    np.save(tmp_path / "wide.npy", np.zeros((N, 2)))
    np.save(tmp_path / "objects.npy", np.array({"keyboard": 1}), allow_pickle=True)
    np.save(tmp_path / "short.npy", np.zeros((N, H, W, 3), np.uint8))
    with pytest.raises(ValueError, match=message) as caught:
        read_validation_set(path, world)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no validation file"),
        ('{"data": [], "more": 1}', "is no validation file"),
        ('{"data": []}', "holds no list of entries"),
        ('{"data": [3]}', "holds no list of entries"),
    ],
)
def test_what_is_no_set_is_refused(tmp_path: Path, world: World, text: str, message: str) -> None:
    path = tmp_path / "set.json"
    with pytest.raises(ValueError, match="there is no validation file"):
        read_validation_set(path, world)
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_validation_set(path, world)


def test_dreams_leave_videos_for_eyes_and_for_other_tools(
    tmp_path: Path, world: World, judge: Judge, rng: np.random.Generator
) -> None:
    cases = read_validation_set(write_set(tmp_path, rng), world)
    out = tmp_path / "step"
    result = validate_dreams(world, cases, judge, out)
    write_summary(out, cases, result)
    assert result.failed == {}
    assert {path.name for path in (out / "videos").iterdir()} == {"start-0.mp4", "short-0.mp4"}
    assert json.loads((out / "prompts.json").read_text()) == {"start-0.mp4": "a court", "short-0.mp4": ""}
    clean, marked = shown(out / "videos/start-0.mp4"), shown(out / "overlay/start-0_overlay.mp4")
    assert clean.shape == marked.shape == (N + 1, 13 * H, 13 * W, 3)
    start = np.array(Image.open(tmp_path / "files/start.png")).repeat(13, 0).repeat(13, 1)
    assert np.abs(clean[0].astype(int) - start).mean() < 25  # random colours, of which an mp4 keeps a quarter
    assert np.abs(clean[1:-1].astype(int) - marked[1:-1])[:, : 6 * H].mean() > 1  # keys at the top
    assert np.abs(clean[-1].astype(int) - marked[-1]).mean() < 1  # none after the last action

    summary = json.loads((out / "metrics.json").read_text())
    assert summary["mean"] == result.metrics
    assert {"psnr@1", "psnr@4", "flow_epe", "flow_epe_real", "consistency_palette"} <= summary["mean"].keys()
    assert "flow_epe_real" not in summary["dreams"]["short"]
    mean = (summary["dreams"]["start"]["flow_epe"] + summary["dreams"]["short"]["flow_epe"]) / 2
    assert summary["mean"]["flow_epe"] == pytest.approx(mean)


def test_a_dream_that_fails_is_named_and_keeps_nobody_else(
    tmp_path: Path, world: World, judge: Judge, rng: np.random.Generator
) -> None:
    first, second = read_validation_set(write_set(tmp_path, rng), world)
    broken = replace(first, prompt=replace(first.prompt, frames=first.prompt.frames[:, 1:]))
    result = validate_dreams(world, [broken, second], judge, tmp_path / "step")
    assert list(result.failed) == ["start"]
    assert "prompt frames are 19x26 pixels, the model dreams 20x26" in result.failed["start"]
    assert list(result.dreams) == ["short"]
    alone = validate_dreams(world, [broken, second], judge, tmp_path / "other", rank=1, ranks=2)
    assert alone.dreams == result.dreams  # its noise is that of its place in the set


def test_no_division_of_dreams_changes_a_bit(judge: Judge, rng: np.random.Generator) -> None:
    dreams = rng.integers(0, 256, (5, N, H, W, 3), np.uint8)
    before, rows = rng.integers(0, 256, (1, H, W, 3), np.uint8), np.ones((N, 1), np.float32)
    whole, reverse = RolloutScores(judge), RolloutScores(judge)
    for order, scores in ((range(5), whole), (range(4, -1, -1), reverse)):
        for i in order:
            scores.add(before, dreams[i], rows, dreams[(i + 1) % 5] if i else None)
    assert whole.metrics() == reverse.metrics()
    assert whole.across_ranks().metrics() == whole.metrics()


def test_real_play_is_measured_once(judge: Judge, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    values = Judge.values
    monkeypatch.setattr(Judge, "values", lambda self, *play: measured.append(len(play[0])) or values(self, *play))
    frames, rows = rng.integers(0, 256, (3, N, H, W, 3), np.uint8), np.ones((N, 1), np.float32)
    for _ in range(2):  # two validations
        found = RolloutScores(judge).add(frames[0, :1], frames[1], rows, frames[2])
    assert "flow_epe_real" in found
    assert len(measured) == 3  # two dreams, and what really followed


def test_a_tally_counts_what_is_finite() -> None:
    tally = Tally()
    tally.add({"a": 1.0, "b": float("nan")})
    tally.add({"a": 4.0, "b": float("inf"), "c": 2.0})
    assert tally.means() == {"a": 2.5, "c": 2.0}
    assert tally.counts() == {"a": 2, "c": 1}


def test_what_a_config_names_is_looked_at_before_training(tmp_path: Path, world: World) -> None:
    with pytest.raises(ValueError, match="every is 0; use 1 or more"):
        ValidationConfig(every=0)
    with pytest.raises(ValueError, match="there is no validation file"):
        make_validation(ValidationConfig(every=3, cases=str(tmp_path / "gone.json")), world, [], 2, tmp_path)
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps(replace(CAMERA, motions=(CameraMotion(signal="yaw"),)).to_json()))
    with pytest.raises(ValueError, match="the camera model moves by 'yaw', and these actions have move=up, move=down"):
        make_validation(ValidationConfig(every=3, camera=str(camera)), world, [], 2, tmp_path)


def shown(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
