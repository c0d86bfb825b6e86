"""The demo: record Pong, train a world model of it, judge it, and play it."""

import sys
import time
from pathlib import Path

from hallucade.evaluation.evaluate import evaluate
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.long_run.check import LongRunConfig
from hallucade.evaluation.report import write_report
from hallucade.play.server import PortInUse, serve
from hallucade.recipes.console import counting, say, staged
from hallucade.recipes.load import load, run_facts
from hallucade.recipes.registry import find_recipe
from hallucade.recipes.train import find_or_record, train
from hallucade.rollout import World

RECIPE = "pong_micro"
SHOWN = (
    ("pong/one_ball_share@256", "frames with exactly one ball, to frame 256", "{:.1%}"),
    ("pong/paddle_error_px@64", "paddle error after 64 dreamed frames, pixels of 24", "{:.2f}"),
    ("pong/ball_error_px@8", "median ball error after 8 dreamed frames, pixels of 24", "{:.2f}"),
    ("pong/response_direction", "key presses that move the paddle the right way", "{:.1%}"),
)


def demo(folder: Path, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Do everything once; what is there already from an earlier call is kept and continued.

    At a terminal this ends by serving the page; without one, after the report, with the command to play.
    """
    started = time.monotonic()
    config = find_recipe(RECIPE)
    run = folder / RECIPE
    with counting("1/4 recording bots at play") as progress:
        store = find_or_record(config, folder / "store", progress)
    say(f"1/4 recorded {store.total_frames:,} frames ({store.hours:.1f} hours of play) in {folder / 'store'}")
    say(f"2/4 training {RECIPE} on them (sample videos: {run / 'samples'})")
    result = train(config, store, run, resume=True)
    if result.reason != "finished":
        say(f"training stopped at step {result.step} ({result.reason}); the same command goes on from there")
        return
    world = load(run)
    with staged("3/4 judging it against the true game") as stage:
        evaluation = evaluate(world, pong=PongCheckConfig.quick(), long=LongRunConfig.quick(), progress=stage)
    write_report(run, evaluation, run_facts(run))
    say(f"3/4 judged: {run / 'report.html'}")
    for name, meaning, form in SHOWN:
        if name in evaluation.metrics:
            say(f"      {form.format(evaluation.metrics[name]):>6}  {meaning}")
    say(f"    from nothing to here in {(time.monotonic() - started) / 60:.1f} minutes")
    if sys.stdout.isatty():
        say("4/4 play: press Ctrl-C to end")
        open_page(world, host, port)
    else:
        say(f"4/4 play it: hallucade play {run}")


def open_page(world: World, host: str, port: int) -> None:
    """Serve until Ctrl-C; a port in use is no reason to stop after minutes of work, so that any other will do."""
    try:
        serve(world, host=host, port=port, ready=announce)
    except PortInUse:
        serve(world, host=host, port=0, ready=announce)


def announce(url: str) -> None:
    """Say where the page is."""
    say(f"ready: open {url}")
