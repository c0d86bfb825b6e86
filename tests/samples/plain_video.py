"""Videos alone, as a camera or a capture card leaves them."""

from pathlib import Path

from samples.scene import walk

from hallucade.data.pictures import write_mp4

SIZE, FPS, FRAMES = (48, 64), 20.0, 61
NAMES = ("a", "b", "validation/c")


def write_videos(folder: Path) -> None:
    """Write three of them, one of which is for validation."""
    (folder / "validation").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        write_mp4(folder / f"{name}.mp4", walk(seed, FRAMES, SIZE, FPS).frames, FPS)
