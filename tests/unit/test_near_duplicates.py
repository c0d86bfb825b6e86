import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from moving_scene import ACTIONS, Scene, film, play

from hallucade.data.checks.near_duplicates import Match, check_near_duplicates, near_duplicates, signs_of
from hallucade.data.checks.validate import validate_store
from hallucade.data.episode import Episode
from hallucade.data.manifest import StoreColumn, StoreManifest
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

SCENE = Scene(48, 64, noise=2)


def encoded_again(frames: np.ndarray, crf: int) -> np.ndarray:
    """Return what a lossy video of some frames shows."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(20))
        stream.height, stream.width, stream.pix_fmt, stream.options = *frames.shape[1:3], "yuv420p", {"crf": str(crf)}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_episodes_encoded_again_and_trimmed_are_found_with_their_distance(rng: np.random.Generator) -> None:
    takes = [film(SCENE, play(rng, 90), rng)[0] for _ in range(4)]
    repeats = [encoded_again(takes[1], 28), takes[2][31:], encoded_again(takes[3][9:70], 23), takes[0][:50]]
    found = list(near_duplicates([signs_of(frames) for frames in [*takes, *repeats]]))
    assert found == [Match(1, 4, 0, 91), Match(2, 5, -31, 60), Match(3, 6, -9, 61), Match(0, 7, 0, 50)]


def test_different_play_in_one_place_is_no_repetition(tmp_path: Path) -> None:
    """Every episode of Pong begins alike and shows the same few things."""
    settings = {"game": "pong", "frame_size": 24, "frames": 9_000, "episode_length": 300}
    assert list(check_near_duplicates(record(RecordingConfig(**settings), tmp_path / "s"))) == []


def test_what_stands_still_is_no_repetition_of_anything(rng: np.random.Generator) -> None:
    still = np.repeat(film(SCENE, play(rng, 1), rng)[0][:1], 40, axis=0)
    assert list(near_duplicates([signs_of(still), signs_of(still)])) == []
    assert list(near_duplicates([])) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 500)])
def test_pictures_of_any_size_have_signs(size: tuple[int, int], rng: np.random.Generator) -> None:
    assert signs_of(rng.integers(0, 256, (5, *size, 3), np.uint8)).shape == (5,)


def test_validation_names_both_episodes(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [play(rng, 90) for _ in range(3)]
    takes = [film(SCENE, actions, rng)[0] for actions in rows]
    takes.append(encoded_again(takes[1], 23)[12:])
    episodes = [Episode(frames, actions) for frames, actions in zip(takes, [*rows, rows[1][12:]], strict=True)]
    columns = (StoreColumn.like("frames", takes[0]), StoreColumn.like("actions", rows[0]))
    with StoreWriter(tmp_path / "s", StoreManifest(actions=ACTIONS, columns=columns, fps=20.0)) as writer:
        writer.append(episodes, splits=["train", "train", "train", "validation"], names=["a", "b", "c", "b_cut"])
    found = [p for p in validate_store(EpisodeStore(tmp_path / "s")).problems if "look like" in p.what]
    said = "79 of its 79 frames look like those of episode 1, which is in the other split (b and b_cut)"
    assert [(p.severity, p.episode, p.what) for p in found] == [("warning", 3, said)]
