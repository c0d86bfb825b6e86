"""What a player feels: frames a second, and the time from a key press to the frame that obeys it, batch 1.

Over the bare socket, and where there is a Chromium in the page itself, as its own display measures it. The player is a
process of its own; on one machine it shares the cores with the model, as a player at home does.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.measurement import Details, Measurement
from benchmarks.rollout import build_world
from benchmarks.train import cases
from hallucade.data.recorder import RecordingConfig, record
from hallucade.play.client import Player, join
from hallucade.play.live_game import steps_of
from hallucade.play.server import serving
from hallucade.recipes.load import load
from hallucade.rollout import Prompt, World

SECONDS = 6.0
SETTLE_SECONDS = 1.0  # before measuring
HOLDS = (0.083, 0.117, 0.151, 0.097)  # seconds between key changes: in no step with any frame rate
FRAME_RATES = (60, 120)  # asked for; the page offers up to 120
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@dataclass(frozen=True)
class Felt:
    """What one player measured."""

    frames_per_s: float
    p50_ms: float
    p95_ms: float


def over_socket(url: str, fps: float, key: str) -> Felt:
    """Play without a page: a frame counts when it is received."""
    return asyncio.run(_over_socket(url, fps, key))


async def _over_socket(url: str, fps: float, key: str) -> Felt:
    async with join(url) as player:
        await player.open(fps=fps)
        pressed: dict[int, float] = {}
        typing = asyncio.create_task(_type(player, key, pressed))
        arrivals: list[float] = []
        latencies: list[float] = []
        end = time.perf_counter() + SETTLE_SECONDS + SECONDS
        while (now := time.perf_counter()) < end:
            frame, now = await player.frame(), time.perf_counter()
            arrivals.append(now)
            for seq in [s for s in pressed if s <= frame.input_seq]:
                latencies.append((now - pressed.pop(seq)) * 1e3)
        typing.cancel()
    measured = [t for t in arrivals if t > end - SECONDS]
    cuts = statistics.quantiles(latencies, n=100)
    return Felt(len(measured) / SECONDS, cuts[49], cuts[94])


async def _type(player: Player, key: str, pressed: dict[int, float]) -> None:
    for i, hold in enumerate(itertools.cycle(HOLDS)):
        now = time.perf_counter()
        pressed[await player.press(*([key] if i % 2 else []))] = now
        await asyncio.sleep(hold)


def in_page(url: str, fps: float, key: str) -> Felt:
    """Play in headless Chromium, and read what the page shows."""
    from playwright.sync_api import sync_playwright  # a development tool: the rest runs without it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=list(CHROMIUM_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector("#status[data-phase=playing]")
        page.fill("#fps", str(int(fps)))
        page.keyboard.press("Escape")  # the keys are the game's again
        page.wait_for_timeout(SETTLE_SECONDS * 1e3)
        shown: list[float] = []
        end = time.perf_counter() + SECONDS
        for hold in itertools.cycle(HOLDS):
            page.keyboard.press(key, delay=hold * 1e3)
            page.wait_for_timeout(hold * 1e3)
            if (text := page.inner_text("#hud-fps")) != "–":
                shown.append(float(text))
            if time.perf_counter() > end:
                break
        p50, p95 = (float(page.inner_text(f"#hud-{name}").removesuffix(" ms")) for name in ("p50", "p95"))
        browser.close()
    return Felt(statistics.fmean(shown), p50, p95)


def measure(world: World, play: Callable[[str, float, str], Felt], fps: float, details: Details) -> None:
    """Serve `world`, let one player of another process play, and print what it felt."""
    key = next(key for choice in world.actions.choices for keys in choice.keys for key in keys)
    with serving(world) as url, multiprocessing.get_context("spawn").Pool(1) as player:
        felt = player.apply(play, (url, fps, key))
    details = {**details, "player": play.__name__, "asked_frames_per_s": fps}
    Measurement("play_frames_per_s", felt.frames_per_s, "frames/s", details).print()
    Measurement("input_to_frame_p50_ms", felt.p50_ms, "ms", details).print()
    Measurement("input_to_frame_p95_ms", felt.p95_ms, "ms", details).print()


def fresh_world() -> World:
    """Return the bundled recipe's Pong with fresh weights: speed does not depend on what was learned."""
    run = cases()["pong"].run
    with tempfile.TemporaryDirectory() as folder:
        store = record(RecordingConfig(frames=10_000), Path(folder) / "store")
        start = store.read(0, 0, run.prompt_frames)
        state = None if start.state is None else start.state[-1]
        world = build_world(run, store)
        return replace(world, game="pong", prompts=(Prompt(start.frames.copy(), start.actions.copy(), state),))


def _chromium() -> str | None:
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure live play.")
    parser.add_argument("run", nargs="?", type=Path, help="a run folder; left out, Pong with fresh weights")
    run: Path | None = parser.parse_args().run
    world = fresh_world() if run is None else load(run)
    details: Details = {
        "device": world.device.type,
        "steps": steps_of(world.sampler) or 0,
        "model": str(run or "fresh"),
    }
    for fps in FRAME_RATES:
        measure(world, over_socket, fps, details)
        if _chromium():
            measure(world, in_page, fps, details)


if __name__ == "__main__":
    main()
