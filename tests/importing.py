"""Importing a folder of videos in a process that tests may kill, through the command line and with two workers."""

import os
from pathlib import Path

import av
import numpy as np

from hallucade.cli import main

H, W, FRAMES = 34, 22, 9


def write_recordings(folder: Path, count: int) -> None:
    """Write so many short videos, each with actions of its own."""
    folder.mkdir()
    (folder / "play.yaml").write_text("buttons: {jump: {}}\nstate: [take]\n")
    rng = np.random.default_rng(0)
    with av.open(str(folder / "00.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        for frame in rng.integers(0, 256, (FRAMES, H, W, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    for take in range(count):
        if take:
            os.link(folder / "00.mp4", folder / f"{take:02d}.mp4")
        rows = "".join(f"{held},{take}\n" for held in rng.integers(0, 2, FRAMES))
        (folder / f"{take:02d}.csv").write_text(f"jump,take\n{rows}")


def import_in_child(source: str, store: str, workers: int) -> None:
    """Import or resume as a user does; what is said on standard error goes to the file STORE.PROCESS.txt."""
    os.setsid()  # a session of its own, to which Ctrl-C goes as from its terminal
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(f"{store}.{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    try:
        main(["import", "folder", source, store, "--workers", str(workers), "--resume"])
    except SystemExit as end:
        os._exit(int(end.code or 0))
