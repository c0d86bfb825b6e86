"""Command: evaluate, which asks of every kind of run what it is good for."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hallucade.cli.parse import Sampling, parse
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.controllability import ControllabilityConfig, evaluate_reader
from hallucade.evaluation.evaluate import evaluate as evaluate_world
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.latent_action_check import LatentActionCheckConfig, evaluate_latent_actions
from hallucade.evaluation.long_run.check import LongRunConfig
from hallucade.evaluation.recorded_clips import ClipCheckConfig
from hallucade.evaluation.report import write_report
from hallucade.evaluation.result import Evaluation, Progress
from hallucade.evaluation.token_check.check import TokenCheckConfig
from hallucade.evaluation.tokenizer_quality import TokenizerCheckConfig, evaluate_tokenizer
from hallucade.recipes.console import say, staged
from hallucade.recipes.inverse_dynamics import is_inverse_dynamics_run, load_inverse_dynamics
from hallucade.recipes.latent_actions import is_latent_actions_run, load_latent_actions
from hallucade.recipes.load import default_device, load, results_folder, run_facts
from hallucade.recipes.tokenizer_run import is_tokenizer_run
from hallucade.samplers.choice import SamplingChoice
from hallucade.tokenizers.pretrained import PretrainedTokenizerConfig, find_tokenizer


def evaluate(arguments: Sequence[str]) -> None:
    """Judge a run against the true game, or a tokenizer by held-out pictures."""
    run = Path(arguments[0]) if arguments else Path()
    judge = next((judge for is_its_run, judge in JUDGES.items() if is_its_run(run)), judge_world)
    if judge is judge_world and "--quick" in arguments:
        quick = {"pong": PongCheckConfig.quick(), "long": LongRunConfig.quick(), "tokens": TokenCheckConfig.quick()}
        judge = partial(judge_world, **quick)
    parse(judge, "evaluate", arguments)


def judge_world(
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
        run: a run folder, or the name of a bundled world; by default pong.
        store: recorded play of the same game, whose validation clips are dreamed too.
        out: where to write; by default the run folder, and runs/bundled/NAME for a bundled world.
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

    def judged(stage: Progress) -> Evaluation:
        return evaluate_world(
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

    _report(out or results_folder(run), run_facts(run, sampling), judged)


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
    tokenizer = PretrainedTokenizerConfig(path=str(run)).build().to(default_device())
    facts = {"run": str(run), "tokenizer": folder.fingerprint}
    _report(out or run, facts, partial(evaluate_tokenizer, tokenizer, EpisodeStore(store), check))


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
    facts = {"run": str(run), "inverse dynamics model": reader.fingerprint}
    _report(out or run, facts, partial(evaluate_reader, reader, EpisodeStore(store), control))


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
    facts = {"run": str(run), "latent actions": trained.fingerprint}
    _report(out or run, facts, partial(evaluate_latent_actions, trained.network, EpisodeStore(store), check))


JUDGES: dict[Callable[[Path], bool], Callable[..., None]] = {
    is_tokenizer_run: judge_tokenizer,
    is_inverse_dynamics_run: judge_reader,
    is_latent_actions_run: judge_latent_actions,
}


def _report(out: Path, facts: Mapping[str, object], judged: Callable[[Progress], Evaluation]) -> None:
    """Judge, write what was found, and say it."""
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged("judging") as stage:
        evaluation = judged(stage)
    write_report(out, evaluation, facts)
    for name, value in sorted(evaluation.metrics.items()):
        say(f"{name:>42}  {value:.4g}")
    for note in evaluation.notes:
        say(note)
    say(f"report: {out / 'report.html'}")
