"""Commands about trained worlds: rollout, play, export, demo."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from hallucade.cli.parse import Sampling
from hallucade.data.exporters.lerobot import export_lerobot
from hallucade.data.journal import JOURNAL
from hallucade.data.manifest import MANIFEST
from hallucade.data.pictures import overlay_keys, write_video
from hallucade.data.store import EpisodeStore
from hallucade.games.base import Bot
from hallucade.games.bots import make_bot
from hallucade.play.server import serve
from hallucade.recipes.console import counting, say
from hallucade.recipes.demo import announce
from hallucade.recipes.demo import demo as run_demo
from hallucade.recipes.load import export as export_run
from hallucade.recipes.load import load
from hallucade.rollout import Session
from hallucade.samplers.choice import SamplingChoice
from hallucade.training.run_folder import RUNS

SHOWN_WIDTH = 240  # pixels of a video
NO_STATE = np.zeros((1, 1))  # what a bot is told that does not see the screen


def rollout(
    run: Positional[Path | None] = None,
    /,
    out: Path = Path("dream.mp4"),
    frames: int = 300,
    bot: str = "random_hold",
    prompt: int = 0,
    seed: int = 0,
    sampling: Sampling = SamplingChoice(),  # noqa: B008 - frozen
) -> None:
    """Dream a video, of any length in constant memory.

    Args:
        run: a run folder, or the name of a bundled world; by default pong.
        out: the video to write, .mp4 or .gif.
        frames: dreamed frames.
        bot: who presses the keys, without seeing the screen: random_hold or idle.
        prompt: which of the run's prompts to start from.
        seed: of keys and noise.
        sampling: how to sample, instead of as the recipe says.
    """
    world = load(run, sampling=sampling)
    if not 0 <= prompt < len(world.prompts):
        raise ValueError(f"prompt is {prompt}; this run has {len(world.prompts)}, counted from 0")
    if bot not in ("random_hold", "idle"):
        raise ValueError(f"bot is {bot!r}; without a simulator's state it can be random_hold or idle")
    if frames < 1:
        raise ValueError(f"frames is {frames}; dream one or more")
    session = Session(world, world.prompts[prompt], seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with counting("dreaming") as progress:
        write_video(out, _played(session, make_bot(bot, world.actions, 1, seed), frames, progress), world.fps)
    say(f"{frames} dreamed frames: {out}")


def _played(session: Session, player: Bot, frames: int, progress: Callable[[int, int], None]) -> Iterator[np.ndarray]:
    """Yield the prompt's last frame and `frames` dreamed ones, enlarged, with what was held on the way to each."""
    actions, m = session.world.actions, session.world.frames_per_step
    scale = max(1, SHOWN_WIDTH // session.world.frame_size[1])
    yield overlay_keys(session.prompt.frames[-1:], actions, actions.idle[None], scale)[0]
    for done in range(0, frames, m):
        rows = np.concatenate([player(NO_STATE) for _ in range(m)])
        dreamed = session.step(rows)[0].cpu().numpy()
        yield from overlay_keys(dreamed, actions, rows, scale)[: frames - done]
        progress(min(done + m, frames), frames)


def play(
    run: Positional[Path | None] = None,
    /,
    host: str = "127.0.0.1",
    port: int = 8000,
    sampling: Sampling = SamplingChoice(),  # noqa: B008 - frozen
) -> None:
    """Play a dream in the browser, beside the true game.

    Args:
        run: a run folder, or the name of a bundled world; by default pong.
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        sampling: how to sample, instead of as the recipe says.
    """
    serve(partial(load, run, sampling=sampling), host=host, port=port, ready=announce)


def export(source: Positional[Path], out: Positional[Path], /) -> None:
    """Write a run or a store for others, and nothing else.

    Args:
        source: a run folder: its weights, config and prompts go out; or a store: it becomes a LeRobot v3.0 dataset.
        out: a new folder; `hallucade play` and `hallucade evaluate` take an exported run as a run.
    """
    if (source / MANIFEST).is_file() and (source / JOURNAL).is_file():
        with counting("exporting") as progress:
            say(f"exported: {export_lerobot(EpisodeStore(source), out, progress=progress)}")
    else:
        say(f"exported: {export_run(source, out)}")


def demo(folder: Path = RUNS / "demo", host: str = "127.0.0.1", port: int = 8000) -> None:
    """Record, train, judge and play Pong inside a neural network.

    Args:
        folder: where everything goes; calling again goes on from there.
        host: address of the page.
        port: port of the page.
    """
    run_demo(folder, host=host, port=port)
