"""Commands about trained worlds: evaluate, rollout, play, export, demo."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tyro.conf import Positional

from hallucade.cli.parse import parse
from hallucade.data.exporters.lerobot import export_lerobot
from hallucade.data.journal import JOURNAL
from hallucade.data.manifest import MANIFEST
from hallucade.data.pictures import overlay_keys, write_video
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.controllability import ControllabilityConfig, evaluate_reader
from hallucade.evaluation.evaluate import evaluate as evaluate_world
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.latent_action_check import LatentActionCheckConfig, evaluate_latent_actions
from hallucade.evaluation.long_run.check import LongRunConfig
from hallucade.evaluation.recorded_clips import ClipCheckConfig
from hallucade.evaluation.report import write_report
from hallucade.evaluation.result import Evaluation
from hallucade.evaluation.token_check.check import TokenCheckConfig
from hallucade.evaluation.tokenizer_quality import TokenizerCheckConfig, evaluate_tokenizer
from hallucade.games.base import Bot
from hallucade.games.bots import make_bot
from hallucade.play.server import serve
from hallucade.recipes.console import counting, say, staged
from hallucade.recipes.demo import announce
from hallucade.recipes.demo import demo as run_demo
from hallucade.recipes.inverse_dynamics import is_inverse_dynamics_run, load_inverse_dynamics
from hallucade.recipes.latent_actions import is_latent_actions_run, load_latent_actions
from hallucade.recipes.load import default_device, load, run_facts
from hallucade.recipes.load import export as export_run
from hallucade.recipes.tokenizer_run import is_tokenizer_run
from hallucade.rollout import Session
from hallucade.samplers.choice import SamplingChoice
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig, find_tokenizer

RUNS = Path("runs")
SHOWN_WIDTH = 240  # pixels of a video
NO_STATE = np.zeros((1, 1))  # what a bot is told that does not see the screen
Sampling = Annotated[SamplingChoice, tyro.conf.arg(name="")]


def evaluate(arguments: Sequence[str]) -> None:
    """Judge a run against the true game, or a tokenizer by held-out pictures."""
    run = Path(arguments[0]) if arguments else Path()
    if is_tokenizer_run(run):
        parse(judge_tokenizer, "evaluate", arguments)
        return
    if is_inverse_dynamics_run(run):
        parse(judge_reader, "evaluate", arguments)
        return
    if is_latent_actions_run(run):
        parse(judge_latent_actions, "evaluate", arguments)
        return
    quick = partial(judge, pong=PongCheckConfig.quick(), long=LongRunConfig.quick(), tokens=TokenCheckConfig.quick())
    parse(quick if "--quick" in arguments else judge, "evaluate", arguments)


def judge(
    run: Positional[Path | None] = None,
    /,
    store: Path | None = None,
    out: Path | None = None,
    quick: bool = False,
    sampling: Sampling = SamplingChoice(),  # noqa: B008 - frozen
    pong: PongCheckConfig = PongCheckConfig(),  # noqa: B008 - frozen
    clips: ClipCheckConfig = ClipCheckConfig(),  # noqa: B008 - frozen
    long: LongRunConfig = LongRunConfig(),  # noqa: B008 - frozen
    tokens: TokenCheckConfig = TokenCheckConfig(),  # noqa: B008 - frozen
    inverse_dynamics: Path | None = None,
    control: ControllabilityConfig = ControllabilityConfig(),  # noqa: B008 - frozen
) -> None:
    """Judge a run against the true game; write metrics.json and report.html.

    Args:
        run: a run folder; by default the bundled Pong.
        store: recorded play of the same game, whose validation clips are dreamed too.
        out: where to write; by default the run folder, and runs/bundled for the bundled Pong.
        quick: fewer games, coarser percentiles; sets the defaults of what follows.
        sampling: how to sample, instead of as the recipe says.
        pong: how much of the true game.
        clips: how much of the store, and by which networks that others trained; see docs/metrics.md.
        long: how long to dream on beside the true game, and a store's episodes; see docs/metrics.md.
        tokens: how much of a world of codes to look at as such, where a store is given; see docs/tokens.md.
        inverse_dynamics: a run that reads actions off frames, for how well dreams obey; see docs/controllability.md.
        control: what it is shown.
    """
    world = load(run, sampling=sampling)
    recorded = None if store is None else EpisodeStore(store)
    reader = None if inverse_dynamics is None else load_inverse_dynamics(inverse_dynamics)
    out = out or run or RUNS / "bundled"
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged("judging") as stage:
        evaluation = evaluate_world(
            world,
            recorded,
            pong=pong,
            clips=clips,
            long=long,
            tokens=tokens,
            reader=reader,
            control=control,
            progress=stage,
        )
    write_report(out, evaluation, run_facts(run, sampling))
    _say_found(evaluation, out)


def judge_tokenizer(
    run: Positional[Path],
    /,
    store: Path,
    out: Path | None = None,
    check: Annotated[TokenizerCheckConfig, tyro.conf.arg(name="")] = TokenizerCheckConfig(),  # noqa: B008 - frozen
) -> None:
    """Judge a tokenizer by pictures that it was not trained on; write metrics.json and report.html.

    Args:
        run: a run that trained a tokenizer.
        store: recorded play, whose validation episodes are shown to it.
        out: where to write; by default the run folder.
        check: how many pictures, and by whose eyes.
    """
    folder = find_tokenizer(str(run))
    out = out or run
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    tokenizer = PretrainedTokenizerConfig(path=str(run)).build().to(default_device())
    with staged("judging") as stage:
        evaluation = evaluate_tokenizer(tokenizer, EpisodeStore(store), check, stage)
    write_report(out, evaluation, {"run": str(run), "tokenizer": folder.fingerprint})
    _say_found(evaluation, out)


def judge_reader(
    run: Positional[Path],
    /,
    store: Path,
    out: Path | None = None,
    control: Annotated[ControllabilityConfig, tyro.conf.arg(name="")] = ControllabilityConfig(),  # noqa: B008 - frozen
) -> None:
    """Judge an inverse dynamics model by play that it was not trained on; write metrics.json and report.html.

    Args:
        run: a run that trained one.
        store: recorded play, whose validation episodes are read.
        out: where to write; by default the run folder.
        control: how much is read.
    """
    reader = load_inverse_dynamics(run)
    out = out or run
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged("judging") as stage:
        evaluation = evaluate_reader(reader, EpisodeStore(store), control, stage)
    write_report(out, evaluation, {"run": str(run), "inverse dynamics model": reader.fingerprint})
    _say_found(evaluation, out)


def judge_latent_actions(
    run: Positional[Path],
    /,
    store: Path,
    out: Path | None = None,
    check: Annotated[LatentActionCheckConfig, tyro.conf.arg(name="")] = LatentActionCheckConfig(),  # noqa: B008
) -> None:
    """Judge latent actions by play that they were not found in; write metrics.json and report.html.

    Args:
        run: a run that trained a latent-action model.
        store: recorded play; where it has actions, it is told how the latent ones line up with them.
        out: where to write; by default the run folder.
        check: how much is looked at.
    """
    trained = load_latent_actions(run)
    out = out or run
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged("judging") as stage:
        evaluation = evaluate_latent_actions(trained.network, EpisodeStore(store), check, stage)
    write_report(out, evaluation, {"run": str(run), "latent actions": trained.fingerprint})
    _say_found(evaluation, out)


def _say_found(evaluation: Evaluation, out: Path) -> None:
    for name, value in sorted(evaluation.metrics.items()):
        say(f"{name:>42}  {value:.4g}")
    for note in evaluation.notes:
        say(note)
    say(f"report: {out / 'report.html'}")


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
        run: a run folder; by default the bundled Pong.
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


def play(run: Positional[Path | None] = None, /, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Play a dream in the browser, beside the true game.

    Args:
        run: a run folder; by default the bundled Pong.
        host: address to listen on.
        port: port to listen on; 0 for any free one.
    """
    serve(partial(load, run), host=host, port=port, ready=announce)


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
