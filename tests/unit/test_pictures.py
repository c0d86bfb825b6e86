import io
from pathlib import Path

import av
import numpy as np
import pytest
from dot_game import ACTIONS
from PIL import Image

from hallucade.data.pictures import (
    GAP,
    PAPER,
    TEXT_HEIGHT,
    contact_sheet,
    enlarge,
    mp4_bytes,
    overlay_keys,
    stack_rows,
    write_mp4,
    write_png,
    write_video,
)


@pytest.fixture
def frames(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 6, 10, 3), np.uint8)


def decode(video: bytes) -> np.ndarray:
    with av.open(io.BytesIO(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_contact_sheet_lays_frames_out_in_reading_order(frames: np.ndarray) -> None:
    sheet = contact_sheet(frames, columns=3, scale=2)
    h, w = 12, 20
    assert sheet.shape == (2 * h + GAP, 3 * w + 2 * GAP, 3)
    fourth = sheet[h + GAP :, :w]
    np.testing.assert_array_equal(fourth[::2, ::2], frames[3])
    np.testing.assert_array_equal(fourth[1::2, 1::2], frames[3])
    assert (sheet[h + GAP :, 2 * (w + GAP) :] == PAPER).all()  # no sixth frame
    np.testing.assert_array_equal(contact_sheet(frames[:2], columns=9)[:, :10], frames[0])


def test_overlay_shows_what_was_held_under_each_frame(frames: np.ndarray) -> None:
    rows = np.array([[0, 0], [1, 0], [2, 0], [1, 2]], np.float32)
    shown = overlay_keys(frames, ACTIONS, rows, scale=7)
    np.testing.assert_array_equal(shown[:, : 6 * 7], enlarge(frames, 7))
    strips = shown[:, 6 * 7 :]
    assert strips.shape == (5, TEXT_HEIGHT, 70, 3)
    ink = (strips != PAPER).any(axis=(1, 2, 3))
    assert ink.tolist() == [False, True, True, True, False]  # idle, and nothing follows the last frame
    assert (strips[1] != strips[2]).any()
    np.testing.assert_array_equal(strips[1][:, :14], strips[3][:, :14])  # the same arrow, and "tilt+" behind it
    assert (strips[3][:, 16:] != PAPER).any()
    left, right = ((strips[i][:, :12] != PAPER).any(axis=2).sum(axis=0) for i in (1, 2))
    assert left.argmax() > right.argmax()  # an arrow head is widest away from where it points


def test_overlay_refuses_rows_of_another_clip(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="3 action rows for 5 frames; pass 4 or 5"):
        overlay_keys(frames, ACTIONS, np.zeros((3, 2), np.float32))


def test_rows_stand_under_their_names(frames: np.ndarray) -> None:
    wide = np.concatenate([frames, frames], axis=2)
    stacked = stack_rows({"real": wide, "dream": frames})
    assert stacked.shape == (5, 2 * (TEXT_HEIGHT + 6), 20, 3)
    np.testing.assert_array_equal(stacked[:, TEXT_HEIGHT : TEXT_HEIGHT + 6], wide)
    np.testing.assert_array_equal(stacked[:, -6:, :10], frames)
    assert (stacked[:, -6:, 10:] == PAPER).all()
    titles = stacked[0, :TEXT_HEIGHT], stacked[0, TEXT_HEIGHT + 6 : -6]
    assert all((title != PAPER).any() for title in titles)
    assert (titles[0] != titles[1]).any()
    with pytest.raises(ValueError, match=r"lengths \{'real': 5, 'dream': 4\}"):
        stack_rows({"real": frames, "dream": frames[:4]})


def test_png_keeps_every_pixel(frames: np.ndarray, tmp_path: Path) -> None:
    write_png(tmp_path / "sheet.png", frames[0])
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "sheet.png")), frames[0])


def test_video_is_sharp_and_plays_in_browsers(frames: np.ndarray, tmp_path: Path) -> None:
    write_mp4(tmp_path / "play.mp4", frames, fps=12.5, scale=8)
    video = (tmp_path / "play.mp4").read_bytes()
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 12.5
    error = np.abs(decode(video).astype(int) - enlarge(frames, 8))
    assert error.shape == (5, 48, 80, 3)
    assert error[:, 4::8, 4::8].max() < 40  # even noise keeps its colours in the middle of each enlarged pixel
    assert error.mean() < 12


def test_odd_sizes_are_padded_to_even_ones(frames: np.ndarray) -> None:
    video = decode(mp4_bytes(frames[:, :5, :9], fps=30, scale=3))
    assert video.shape == (5, 16, 28, 3)
    with pytest.raises(ValueError, match="no frames"):
        mp4_bytes(frames[:0], fps=30)


def test_a_video_is_written_as_its_ending_says(tmp_path, rng):
    frames = rng.integers(0, 255, (5, 6, 10, 3), dtype=np.uint8)
    write_video(tmp_path / "dream.mp4", frames, fps=30)
    assert (tmp_path / "dream.mp4").read_bytes()[4:8] == b"ftyp"
    write_video(tmp_path / "dream.GIF", frames, fps=10, scale=3)
    with Image.open(tmp_path / "dream.GIF") as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (5, (30, 18), 100)
    with pytest.raises(ValueError, match=r"'\.avi'; name it \.mp4 or \.gif"):
        write_video(tmp_path / "dream.avi", frames, fps=30)
