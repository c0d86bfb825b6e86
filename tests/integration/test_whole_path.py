"""The whole path through the installed command line: record, inspect, train, judge, film, share, play."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_recipe

from hallucade.play.client import join
from hallucade.recipes.load import BUNDLED, BUNDLED_RUN

HALLUCADE = Path(sys.executable).with_name("hallucade")
RECIPE = str(Path(tiny_recipe.__file__))
SMALL = "--pong.rollouts 6 --pong.response-rollouts 3 --pong.horizon 33 --pong.horizons 1 8 32 --pong.switching 16"
SHORT = "--pong.survival-rollouts 2 --pong.survival-frames 65 --pong.shown-frames 20 --long.games 3 --long.frames 60"


@pytest.mark.timeout(180)
def test_record_inspect_train_evaluate_rollout_export_play(tmp_path: Path) -> None:
    hallucade(tmp_path, "record", "pong", "--out", "play", "--frames", "4000", "--episode-length", "120")
    assert "no problems found" in hallucade(tmp_path, "inspect", "play")
    assert "<video" in (tmp_path / "play.html").read_text()
    assert "actions and motion in all episodes" in hallucade(tmp_path, "validate", "play")

    assert "finished at step 24" in hallucade(tmp_path, "train", RECIPE, "--store", "play", "--out", "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 24
    assert list((tmp_path / "run/samples").glob("step_*.mp4"))

    hallucade(tmp_path, "evaluate", "run", "--quick", "--store", "play", *SMALL.split(), *SHORT.split())
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"pong/ball_error_px@8", "pong/one_ball_share@33", "clips/psnr@8"} <= metrics.keys()
    assert {"long/ssim@60", "episodes/ssim@60"} <= metrics.keys()
    assert "<video" in (tmp_path / "run/report.html").read_text()

    hallucade(tmp_path, "rollout", "run", "--out", "films/dream.mp4", "--frames", "9")
    assert b"ftyp" in (tmp_path / "films/dream.mp4").read_bytes()[:12]

    hallucade(tmp_path, "export", "run", "shared")
    assert not (tmp_path / "shared/training.safetensors").exists()
    shown = asyncio.run(asyncio.wait_for(play_one_game(tmp_path, "shared"), 60))
    assert shown == sorted(set(shown)), "frames came twice or out of order"


@pytest.mark.skipif(not (BUNDLED / BUNDLED_RUN).is_dir(), reason="the package holds no bundled weights yet")
def test_play_without_a_run_plays_the_bundled_pong(tmp_path: Path) -> None:
    assert len(asyncio.run(asyncio.wait_for(play_one_game(tmp_path), 90))) > 1


def hallucade(folder: Path, *arguments: str) -> str:
    """Run a command to its good end in `folder` and return what it said."""
    done = subprocess.run(
        [HALLUCADE, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=90, env=one_thread()
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


async def play_one_game(folder: Path, *run: str) -> Sequence[int]:
    """Play a second of a game against the real server, end it as Ctrl-C does, and return the frames' numbers."""
    command = [str(HALLUCADE), "play", *run, "--port", "0"]
    server = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=one_thread()
    )
    assert server.stdout is not None
    try:
        ready = (await server.stdout.readline()).decode()
        assert ready.startswith("ready: open http://127.0.0.1:"), (await server.communicate())[1].decode()
        async with join(ready.split()[-1]) as player:
            await player.open()
            held = await player.press("ArrowUp")
            frames = [await player.frame()]
            while len(frames) < 30 or frames[-1].input_seq != held:
                frames.append(await player.frame())
        assert (frames[-1].width, frames[-1].height) == (24, 24)
        assert len(frames[-1].pictures) == 2, "the real game should run beside the dream"
        assert frames[-1].pictures != frames[0].pictures
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGINT)
        _, errors = await server.communicate()
    assert server.returncode == 0, errors.decode()
    return [frame.frame for frame in frames]


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
