"""Folders as people have them: phones, screen recorders, spreadsheets, other file systems."""

import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hallucade.data.collect import collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.importers.folder import FolderConfig
from hallucade.data.source import SourceError
from hallucade.data.store import EpisodeStore
from hallucade.data.video import frame_times, read_video

H, W, FRAMES = 22, 34, 12
EVEN = tuple(range(0, 100 * FRAMES, 100))  # milliseconds at which frames appear, 10 a second
VARIED = (0, 100, 200, 300, 400, 500, 900, 930, 960, 1000, 1050, 1100)
TURN = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # display matrices, clockwise


def shot() -> np.ndarray:
    """A picture of which each corner has another brightness."""
    corners = np.array([[20, 90], [160, 230]], np.uint8).repeat(H // 2, 0).repeat(W // 2, 1)
    return np.repeat(corners[..., None], 3, 2)


def film(
    path: Path, *, at: Sequence[int] = EVEN, codec: str = "libx264", clockwise: int = 0, noise: bool = False
) -> None:
    """Write a film of `shot` as a camera does that was held turned; it says by how much it must be turned back."""
    rng = np.random.default_rng(0)
    stored = np.ascontiguousarray(np.rot90(shot(), clockwise // 90))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for moment in at:
            picture = rng.integers(0, 256, stored.shape, np.uint8) if noise else stored
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if clockwise:
        content = path.read_bytes()
        start = content.index(b"tkhd") + 44
        a, b, c, d = (65536 * x for x in TURN[clockwise])
        path.write_bytes(content[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[start + 36 :])


def table(path: Path, rows: int = FRAMES) -> None:
    path.write_text("jump,score\n" + "".join(f"{i % 2},{i}\n" for i in range(rows)))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "play.yaml").write_text("buttons: {jump: {}}\n")
    return folder


def imported(folder: Path) -> EpisodeStore:
    store = folder.parent / f"store{len(list(folder.parent.iterdir()))}"
    return collect(FolderConfig(path=str(folder)), store).store


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_a_film_of_a_turned_phone_stands_upright(mine: Path, clockwise: int) -> None:
    film(mine / "phone.mov", clockwise=clockwise)
    table(mine / "phone.csv")
    store = imported(mine)
    assert store.frame_size == (H, W)
    assert np.abs(store.episode(0).frames[3].astype(int) - shot()).max() < 40


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")])
def test_containers_of_screen_recorders_are_read(mine: Path, name: str, codec: str) -> None:
    film(mine / name, codec=codec)
    table(mine / "a.csv")
    assert imported(mine).episode(0).actions[:, 0].tolist() == [0, 1] * 5 + [0]


def test_capitals_umlauts_dots_and_spaces_in_names_are_no_matter(mine: Path) -> None:
    film(mine / "Spiel 1.früh.MP4")
    table(mine / "Spiel 1.früh.CSV")
    assert [record.name for record in imported(mine).episodes] == ["Spiel 1.früh"]


def test_hidden_files_of_other_systems_are_left_alone(mine: Path) -> None:
    film(mine / "a.mp4")
    table(mine / "a.csv")
    (mine / "._a.mp4").write_bytes(b"Mac OS X")
    (mine / ".Trash").mkdir()
    film(mine / ".Trash/b.mp4")
    assert len(imported(mine)) == 1


def test_linked_folders_are_entered_and_a_link_that_leads_nowhere_is_named(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    film(tmp_path / "disk/b.mp4")
    table(tmp_path / "disk/b.csv")
    (mine / "linked").symlink_to(tmp_path / "disk")
    (mine / "linked/loop").symlink_to(mine)
    assert [record.name for record in imported(mine).episodes] == ["linked/b"]
    (mine / "a.mp4").symlink_to(tmp_path / "unplugged/a.mp4")
    with pytest.raises(SourceError, match=r"mine/a.mp4: there is no such file; check the path"):
        imported(mine)


def test_two_videos_of_one_name_are_refused(mine: Path) -> None:
    film(mine / "a.mp4")
    film(mine / "a.mkv")
    with pytest.raises(SourceError, match=r"a.mp4: a.mkv has the same name, and so the same table; rename one"):
        FolderConfig(path=str(mine)).build()


def test_a_file_is_no_folder(mine: Path) -> None:
    with pytest.raises(SourceError, match="this is a file; give the folder that holds the videos"):
        FolderConfig(path=str(mine / "play.yaml")).build()


def test_where_a_folder_for_validation_is_nothing_else_is_held_out(mine: Path) -> None:
    names = ["a", "b", "c", "day/Validation/d", "e", "train/f"]
    for name in names:
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        film(mine / f"{name}.mp4")
        table(mine / f"{name}.csv")
    splits = {record.name: record.split for record in imported(mine).episodes}
    assert [splits[name] for name in names] == ["train", "train", "train", "validation", "train", "train"]
    (mine / "day/Validation/d.mp4").unlink()
    assert "validation" in {record.split for record in imported(mine).episodes}


def test_events_meet_the_frames_of_a_varying_rate(mine: Path) -> None:
    (mine / "play.yaml").write_text("time: t\nbuttons: {jump: {}}\nreward: hit\n")
    film(mine / "a.mp4", at=VARIED)
    (mine / "a.csv").write_text("t,jump,hit\n0,0,0\n0.6,1,1\n0.93,0,2\n")
    store = imported(mine)
    episode = store.episode(0)
    assert np.flatnonzero(episode.actions[:, 0]).tolist() == [5, 6]  # frame 5 stays from 0.5 to 0.9 s
    assert episode.rewards is not None
    assert np.flatnonzero(episode.rewards).tolist() == [5, 7]
    assert store.episodes[0].notes == ("the video's rate varies: 4 of 12 frames come early or late",)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx")])
def test_frames_after_the_last_event_are_kept(mine: Path, name: str, codec: str) -> None:
    (mine / "play.yaml").write_text("time: t\nbuttons: {jump: {}}\n")
    film(mine / name, codec=codec)
    (mine / "a.csv").write_text("t,jump\n0,0\n0.3,1\n")
    assert imported(mine).episode(0).actions[:, 0].tolist() == [0] * 3 + [1] * 8


def test_the_times_of_frames_count_from_the_first(tmp_path: Path) -> None:
    film(tmp_path / "late.mp4", at=[moment + 500 for moment in VARIED])
    np.testing.assert_allclose(frame_times(tmp_path / "late.mp4"), np.array(VARIED) / 1000, atol=1e-3)
    assert sum(1 for _ in read_video(tmp_path / "late.mp4")) == FRAMES


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_spreadsheets_are_read(mine: Path, delimiter: str, end: str) -> None:
    film(mine / "a.mp4")
    lines = ["jump,score", *(f"{i % 2},{i}" for i in range(FRAMES))]
    text = end.join(lines).replace(",", delimiter) + end
    (mine / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert imported(mine).episode(0).actions[:3, 0].tolist() == [0, 1, 0]


def test_decimal_commas_are_named(mine: Path) -> None:
    (mine / "play.yaml").write_text("axes: {dx: {low: -1, high: 1}}\n")
    film(mine / "a.mp4")
    (mine / "a.csv").write_text("dx;dy\n" + "0,5;0\n" * FRAMES)
    with pytest.raises(SourceError, match="line 2: dx is '0,5', which is no number; write decimals with a point"):
        imported(mine)


def test_blanks_around_cells_and_names_are_no_matter_but_a_name_stands_once(mine: Path) -> None:
    film(mine / "a.mp4")
    (mine / "a.csv").write_text("jump , score\n" + "1 , 2 \n" * FRAMES)
    assert imported(mine).episode(0).actions.all()
    (mine / "a.csv").write_text("jump,score,jump \n" + "1,2,0\n" * FRAMES)
    with pytest.raises(SourceError, match=r"a.csv: two columns are named 'jump'; rename or remove one"):
        imported(mine)


def test_numbers_too_large_for_any_axis_are_cut_without_a_warning(mine: Path) -> None:
    (mine / "play.yaml").write_text("axes: {dx: {low: -1, high: 1}}\n")
    film(mine / "a.mp4")
    (mine / "a.csv").write_text("dx\n" + "1e300\n" * FRAMES)
    store = imported(mine)
    assert (store.episode(0).actions == 1).all()
    assert f"{FRAMES} of {FRAMES} rows are clipped" in store.episodes[0].notes[0]


@pytest.mark.parametrize("first", ["1732000000.25", "20"])
def test_times_that_are_not_seconds_from_the_first_frame_are_refused(mine: Path, first: str) -> None:
    (mine / "play.yaml").write_text("time: t\nbuttons: {jump: {}}\n")
    film(mine / "a.mp4")
    (mine / "a.csv").write_text(f"t,jump\n{first},0\n{float(first) + 1},1\n")
    said = rf"a.csv: line 2: the time is {first}, and the video's frames come in seconds 0 to 1.1; count seconds"
    with pytest.raises(SourceError, match=said):
        imported(mine)
    (mine / "a.csv").write_text(f"t,jump\n0,0\n0.5,1\n{first},0\n")
    assert imported(mine).episodes[0].notes == ("1 of 3 events come before the first frame or after the last",)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (
            "buttons: {on: {}}",
            "buttons: the name True is no text; put names like yes, no, on, off and numbers in quotes",
        ),
        ("choices: {move: {options: [up, no]}}", "choices.move.options.1: input should be a valid string"),
    ],
)
def test_names_that_yaml_takes_for_something_else_are_to_be_quoted(mine: Path, layout: str, said: str) -> None:
    film(mine / "a.mp4")
    (mine / "play.yaml").write_text(layout)
    with pytest.raises(SourceError, match=said):
        imported(mine)


def test_the_other_suffix_of_yaml_is_named(mine: Path) -> None:
    film(mine / "a.mp4")
    (mine / "play.yaml").rename(mine / "play.yml")
    with pytest.raises(SourceError, match=r"play.yaml: it is missing, and play.yml is there; rename that one"):
        imported(mine)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_a_film_that_is_cut_anywhere_says_so(tmp_path: Path, name: str) -> None:
    """Films of four seconds; in those that count no frames the last second may be lost unseen."""
    file = tmp_path / name
    film(file, at=range(0, 4000, 100), codec="libvpx" if name.endswith("webm") else "libx264", noise=True)
    whole = file.read_bytes()
    for size in range(600, len(whole) * 7 // 10, len(whole) // 37):
        file.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"cut short"):
            list(read_video(file))
    file.write_bytes(whole)
    assert sum(1 for _ in read_video(file)) == 40


def test_rates_that_differ_are_one_where_the_layout_says_so(mine: Path) -> None:
    film(mine / "a.mp4")
    film(mine / "b.mp4", at=VARIED)
    for name in ("a", "b"):
        (mine / f"{name}.jsonl").write_text("".join(json.dumps({"jump": 0}) + "\n" for _ in range(FRAMES)))
    with pytest.raises(SourceError, match=r"b.mp4: it has .* the first video 10; say fps in play.yaml"):
        imported(mine)
    (mine / "play.yaml").write_text("fps: 10\nbuttons: {jump: {}}\n")
    store = collect(FolderConfig(path=str(mine)), mine.parent / "s", ConversionConfig(fps=5)).store
    assert [record.frames for record in store.episodes] == [6, 6]
