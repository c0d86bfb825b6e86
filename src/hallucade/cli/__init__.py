"""The command line: one function a command, tyro only here.

Users' mistakes and what their machine refuses end in one line on standard error and exit code 2; set HALLUCADE_DEBUG=1
for the traceback. Our own mistakes always show theirs.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import tyro
from tyro.conf import Positional

from hallucade.data.pictures import contact_sheet, overlay_keys, write_png, write_video
from hallucade.data.recorder import RecordingConfig
from hallucade.data.recorder import record as record_store
from hallucade.data.store import EpisodeStore
from hallucade.data.validate import check_store, summarise
from hallucade.evaluation.evaluate import evaluate as evaluate_world
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.report import write_report
from hallucade.games.bots import make_bot
from hallucade.play.server import serve
from hallucade.recipes.console import counting, explain, plain_warnings, say, staged
from hallucade.recipes.demo import announce
from hallucade.recipes.demo import demo as run_demo
from hallucade.recipes.load import export as export_run
from hallucade.recipes.load import load, run_facts
from hallucade.recipes.registry import RECIPES, find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.train import find_or_record
from hallucade.recipes.train import train as train_run
from hallucade.rollout import Session, World
from hallucade.samplers.flow import FlowSamplerConfig
from hallucade.training.trainer import TrainingDivergedError

RUNS, STORES = Path("runs"), Path("stores")


def record(
    game: Positional[str],
    /,
    out: Path | None = None,
    frames: int = 200_000,
    frame_size: int = 24,
    bot: str = "mixture",
    episode_length: int = 600,
    seed: int = 0,
    resume: bool = False,
) -> None:
    """Record bots at play in a simulator into an episode store.

    Args:
        game: a built-in game: pong.
        out: the store's folder; by default stores/GAME_SIZE.
        frames: at least so many; episodes are never cut short.
        frame_size: pixels a side, 24 or 64 for example.
        bot: who plays: good, weak, random_hold, idle, or mixture.
        episode_length: actions in an episode.
        seed: the same seed gives the same store.
        resume: continue a recording that was interrupted, or make it longer.
    """
    out = out or STORES / f"{game}_{frame_size}"
    config = RecordingConfig(
        game=game, bot=bot, frame_size=frame_size, frames=frames, episode_length=episode_length, seed=seed
    )
    command = " ".join(["hallucade", *sys.argv[1:]])
    with counting(f"recording {game}") as progress:
        store = record_store(config, out, resume=resume, command=command, progress=progress)
    say(f"{store.total_frames:,} frames in {len(store)} episodes, {store.hours:.2f} hours: {out}")


def inspect(store: Positional[Path], /, sheet: Path | None = None, episode: int = 0, frames: int = 64) -> None:
    """Say what is in a store and what is wrong with it; exit code 1 if something is.

    Args:
        store: a store's folder.
        sheet: where to write a contact sheet; by default STORE_sheet.png beside the store.
        episode: whose frames to show.
        frames: how many frames to show, spread over the episode.
    """
    opened = EpisodeStore(store)
    picture = _sheet(opened, episode, frames) if len(opened) else None  # before anything is said: numbers may be wrong
    summary = summarise(opened)
    for name, value in vars(summary).items():
        say(f"{name:>14}: {_plain(value)}")
    problems = check_store(opened)
    for problem in problems:
        say(str(problem))
    if picture is not None:
        target = sheet or store.resolve().with_name(f"{store.resolve().name}_sheet.png")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_png(target, picture)
        say(f"contact sheet: {target}")
    if any(problem.severity == "error" for problem in problems):
        sys.exit(1)
    say("no errors found" if problems else "no problems found")


@dataclass(frozen=True)
class Train:
    """Train a recipe; every number of it can be changed here, as in --model.widths 64 96."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    store: Path | None = None
    """Recorded play; by default stores/RECIPE, recorded first if it is not there."""
    out: Path | None = None
    """The run's folder; by default runs/RECIPE."""
    resume: bool = False
    """Go on from the newest checkpoint of that folder."""


def train(command: Train) -> None:
    """Train a recipe on a store that is given, or recorded for it."""
    config = command.config
    name = Path(config.recipe).stem
    if command.store is not None:
        store = EpisodeStore(command.store)
    else:
        with counting(f"recording for {name}") as progress:
            store = find_or_record(config, STORES / name, progress)
    run = command.out or RUNS / name
    result = train_run(config, store, run, resume=command.resume)
    speed = f", {result.frames_per_s:,.0f} frames/s" if result.frames_per_s else ""  # none if it was finished before
    say(f"{result.reason} at step {result.step}{speed}: {result.checkpoint}")
    if result.reason != "finished":
        say("go on with the same command and --resume")


def evaluate(
    run: Positional[Path | None] = None,
    /,
    store: Path | None = None,
    out: Path | None = None,
    quick: bool = False,
    sampling_steps: int | None = None,
    pong: PongCheckConfig = PongCheckConfig(),  # noqa: B008 - frozen
) -> None:
    """Judge a run against the true game; write metrics.json and report.html.

    Args:
        run: a run folder; by default the bundled Pong.
        store: recorded play of the same game, whose validation clips are dreamed too.
        out: where to write; by default the run folder, and runs/bundled for the bundled Pong.
        quick: fewer games, coarser percentiles; sets the defaults of what follows.
        sampling_steps: denoising steps a frame, instead of the recipe's.
        pong: how much of the true game.
    """
    world = _with_steps(load(run), sampling_steps)
    recorded = None if store is None else EpisodeStore(store)
    out = out or run or RUNS / "bundled"
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged("judging") as stage:
        evaluation = evaluate_world(world, recorded, pong=pong, progress=stage)
    write_report(out, evaluation, run_facts(run))
    for name, value in sorted(evaluation.metrics.items()):
        say(f"{name:>42}  {value:.4g}")
    say(f"report: {out / 'report.html'}")


def rollout(
    run: Positional[Path | None] = None,
    /,
    out: Path = Path("dream.mp4"),
    frames: int = 300,
    bot: str = "random_hold",
    prompt: int = 0,
    seed: int = 0,
    sampling_steps: int | None = None,
) -> None:
    """Dream a video.

    Args:
        run: a run folder; by default the bundled Pong.
        out: the video to write, .mp4 or .gif.
        frames: dreamed frames.
        bot: who presses the keys, without seeing the screen: random_hold or idle.
        prompt: which of the run's prompts to start from.
        seed: of keys and noise.
        sampling_steps: denoising steps a frame, instead of the recipe's.
    """
    world = _with_steps(load(run), sampling_steps)
    if not 0 <= prompt < len(world.prompts):
        raise ValueError(f"prompt is {prompt}; this run has {len(world.prompts)}, counted from 0")
    if bot not in ("random_hold", "idle"):
        raise ValueError(f"bot is {bot!r}; without a simulator's state it can be random_hold or idle")
    if frames < 1:
        raise ValueError(f"frames is {frames}; dream one or more")
    session = Session(world, world.prompts[prompt], seed)
    player = make_bot(bot, world.actions, 1, seed)
    shown, rows = [world.prompts[prompt].frames[-1:]], [world.actions.idle]
    for _ in range(0, frames, world.frames_per_step):
        row = player(np.zeros((1, 1)))[0]
        dreamed = session.step(row)[0].cpu().numpy()
        shown.append(dreamed)
        rows.extend([row] * len(dreamed))
    video = overlay_keys(np.concatenate(shown), world.actions, np.stack(rows), scale=10)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_video(out, video, world.fps)
    say(f"{len(video) - 1} dreamed frames: {out}")


def play(run: Positional[Path | None] = None, /, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Play a dream in the browser, beside the true game.

    Args:
        run: a run folder; by default the bundled Pong.
        host: address to listen on.
        port: port to listen on; 0 for any free one.
    """
    serve(partial(load, run), host=host, port=port, ready=announce)


def export(run: Positional[Path], out: Positional[Path], /) -> None:
    """Write a run's weights, config and prompts, and nothing else, into a folder to share.

    Args:
        run: a run folder.
        out: a new folder; `hallucade play` and `hallucade evaluate` take it as a run.
    """
    say(f"exported: {export_run(run, out)}")


def demo(folder: Path = RUNS / "demo", host: str = "127.0.0.1", port: int = 8000) -> None:
    """Record, train, judge and play Pong inside a neural network.

    Args:
        folder: where everything goes; calling again goes on from there.
        host: address of the page.
        port: port of the page.
    """
    run_demo(folder, host=host, port=port)


COMMANDS: dict[str, Callable[..., None]] = {
    "record": record,
    "inspect": inspect,
    "train": train,
    "evaluate": evaluate,
    "rollout": rollout,
    "play": play,
    "export": export,
    "demo": demo,
}
MARKERS = (tyro.conf.AvoidSubcommands, tyro.conf.PositionalMetavarFromFieldName, tyro.conf.FlagCreatePairsOff)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; by default with this process's own arguments."""
    with plain_warnings():
        try:
            _run(list(sys.argv[1:] if arguments is None else arguments))
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except (ValueError, OSError, MemoryError, TrainingDivergedError) as error:
            if os.environ.get("HALLUCADE_DEBUG"):
                raise
            sys.stderr.write(f"hallucade: {explain(error)}\n")
            sys.exit(2)
        except KeyboardInterrupt:
            sys.stderr.write("hallucade: interrupted\n")
            sys.exit(130)


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or [""]
    if name in ("", "-h", "--help"):
        say(_overview())
        sys.exit(0 if name else 2)
    if name == "--version":
        say(f"hallucade {version('hallucade')}")
    elif name == "train":
        _parse_train(rest)
    elif name == "evaluate" and "--quick" in rest:
        _parse(partial(evaluate, pong=PongCheckConfig.quick()), name, rest)
    elif name in COMMANDS:
        _parse(COMMANDS[name], name, rest)
    else:
        raise ValueError(f"unknown command {name!r}; choose one of {', '.join(COMMANDS)}")


def _parse(command: Callable[..., None], name: str, arguments: list[str]) -> None:
    markers = (*MARKERS, tyro.conf.DisallowNone)
    tyro.cli(command, args=arguments, prog=f"hallucade {name}", config=markers)


def _parse_train(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        say(f"usage: hallucade train RECIPE [options]\nrecipes: {', '.join(RECIPES)}, or path/to/file.py[:function]")
        say("options of a recipe: hallucade train RECIPE --help")
        sys.exit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)
    recipe, *rest = arguments
    train(
        tyro.cli(Train, args=rest, default=Train(find_recipe(recipe)), prog=f"hallucade train {recipe}", config=MARKERS)
    )


def _overview() -> str:
    commands = [f"  {name:9} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    lines = [
        "usage: hallucade COMMAND [options]",
        "",
        "Turn recorded play into a game that a neural network dreams.",
        "",
    ]
    return "\n".join(
        [*lines, *commands, "", "hallucade COMMAND --help explains one; hallucade --version says which this is."]
    )


def _with_steps(world: World, steps: int | None) -> World:
    if steps is None:
        return world
    config = getattr(world.sampler, "config", None)
    if not isinstance(config, FlowSamplerConfig):
        raise ValueError("this run's sampler takes no number of steps; leave out --sampling-steps")
    return world.with_sampler(replace(config, steps=steps).build())


def _sheet(store: EpisodeStore, episode: int, frames: int) -> np.ndarray:
    """Return frames spread over one episode, with what was held under each."""
    if not 0 <= episode < len(store):
        raise ValueError(f"episode is {episode}; {store.path} has {len(store)}, counted from 0")
    if frames < 1:
        raise ValueError(f"frames is {frames}; show one or more")
    shown = store.episode(episode)
    picked = np.unique(np.linspace(0, len(shown.actions) - 1, frames).astype(int))
    scale = max(1, 96 // store.frame_size[1])
    pictures = overlay_keys(shown.frames[picked], store.actions, np.asarray(shown.actions[picked]), scale)
    return contact_sheet(pictures, columns=8)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in cast("dict[str, Any]", value).items()) or "none"
    if isinstance(value, tuple):
        return " ".join(map(str, cast("tuple[Any, ...]", value))) or "none"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
