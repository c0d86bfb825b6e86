"""Commands about recorded play: record, import, inspect, validate."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from hallucade.cli.parse import MARKERS, parse
from hallucade.data.checks.problem import Problem
from hallucade.data.checks.summary import summarise
from hallucade.data.checks.validate import check_store, validate_store
from hallucade.data.collect import Collection, collect
from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.executors import executor_of
from hallucade.data.importers.registry import IMPORTERS, guess_format
from hallucade.data.ray_executor import RayExecutor
from hallucade.data.recorder import RecordingConfig
from hallucade.data.recorder import record as record_store
from hallucade.data.source import ImporterConfig
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.data_card import facts, write_card
from hallucade.games.environments import known_environments
from hallucade.games.registry import known_games
from hallucade.recipes.console import counting, say, staged

STORES = Path("stores")
EXECUTION = ("--workers", "--ray")  # options that change who works and not what comes out


def record_game(
    game: Positional[str],
    /,
    out: Path | None = None,
    frames: int = 200_000,
    frame_size: int | tuple[int, int] | None = None,
    bot: str = "mixture",
    episode_length: int = 600,
    seed: int = 0,
    resume: bool = False,
) -> None:
    """Record bots at play in a simulator into an episode store.

    Args:
        game: a built-in game, or an environment: see `hallucade record` for a list.
        out: the store's folder; by default stores/GAME_SIZE.
        frames: at least so many; episodes are never cut short.
        frame_size: pixels a side, or height and width; by default 24 for pong and 64 for maze.
        bot: who plays: good, weak (both pong), wander (maze), random_hold, idle, or mixture.
        episode_length: actions in an episode.
        seed: the same seed gives the same store.
        resume: continue a recording that was interrupted, or make it longer.
    """
    size = frame_size or (24 if game == "pong" else 64)
    config = RecordingConfig(
        game=game, bot=bot, frame_size=size, frames=frames, episode_length=episode_length, seed=seed
    )
    out = out or STORES / f"{game}_{size if isinstance(size, int) else 'x'.join(map(str, size))}"
    with counting(f"recording {game}") as progress:
        store = record_store(config, out, resume=resume, command=command_line(), progress=progress)
    _say_store(store, out)


@dataclass(frozen=True)
class RecordEnvironment:
    """Record play in any Gymnasium environment with rgb frames into an episode store."""

    source: Annotated[EnvironmentConfig, tyro.conf.arg(name="")]
    conversion: Annotated[ConversionConfig, tyro.conf.arg(name="")] = ConversionConfig()  # noqa: RUF009 - frozen
    out: Path | None = None
    """The store's folder; by default stores/NAME."""
    frames: int = 50_000
    """At least so many; episodes are never cut short."""
    workers: int | None = None
    """Processes that play; by default one a core."""
    resume: bool = False
    """Continue a recording that was interrupted, or make it longer."""


def record_environment(command: RecordEnvironment) -> None:
    """Play an environment and keep what was seen and done."""
    name = command.source.environment
    out = command.out or STORES / name.replace("/", "_").replace(":", "_")
    with counting(f"recording {name}") as progress:
        collection = collect(
            command.source,
            out,
            command.conversion,
            executor=executor_of(command.workers, command.frames),
            frames=command.frames,
            resume=command.resume,
            command=command_line(),
            progress=progress,
        )
    _say_collection(collection, out)


def record(arguments: Sequence[str]) -> None:
    """Record play in a simulator into an episode store."""
    if not arguments or arguments[0].startswith("-"):
        say("usage: hallucade record GAME [options]")
        say(f"built-in games: {', '.join(known_games())}")
        say(f"environments: {', '.join(known_environments())}, or any Gymnasium id with rgb frames")
        say("options: hallucade record GAME --help")
        sys.exit(0 if list(arguments[:1]) in (["-h"], ["--help"]) else 2)
    name, *rest = arguments
    if name in known_games():
        parse(record_game, "record", arguments)
        return
    default = RecordEnvironment(EnvironmentConfig(environment=name))
    record_environment(
        tyro.cli(RecordEnvironment, args=rest, default=default, prog=f"hallucade record {name}", config=MARKERS)
    )


@dataclass(frozen=True)
class Import:
    """Turn foreign recordings into an episode store."""

    source: Annotated[ImporterConfig, tyro.conf.arg(name="")]
    conversion: Annotated[ConversionConfig, tyro.conf.arg(name="")] = ConversionConfig()  # noqa: RUF009 - frozen
    damage: Literal["raise", "skip"] = "raise"
    """An episode that cannot be read stops the import, or is left out and noted."""
    limit: int | None = None
    """Only so many episodes, the first ones."""
    validation_share: float = 0.05
    """Of the episodes, where the source has no split of its own."""
    workers: int | None = None
    """Processes that read; by default one a core."""
    ray: bool = False
    """Read on a Ray cluster instead."""
    resume: bool = False
    """Continue an import that was interrupted, or make it longer."""


def import_(arguments: Sequence[str]) -> None:
    """Turn foreign recordings into an episode store."""
    paths = list(arguments)
    options = [paths.pop() for _ in range(len(paths) - _leading(paths))][::-1]
    if len(paths) not in (2, 3) or (len(paths) == 3 and paths[0] not in IMPORTERS):
        _say_formats()
        if len(paths) == 3:
            raise ValueError(f"unknown format {paths[0]!r}; known formats: {', '.join(IMPORTERS)}")
        sys.exit(0 if options[:1] in (["-h"], ["--help"]) and not paths else 2)
    name = paths.pop(0) if len(paths) == 3 else guess_format(Path(paths[0]))
    source = IMPORTERS[name](path=paths[0] if "://" in paths[0] else str(Path(paths[0])))
    prog = f"hallucade import {name} SRC STORE"
    command = tyro.cli(Import, args=options, default=Import(source), prog=prog, config=MARKERS)
    run_import(command, Path(paths[1]))


def run_import(command: Import, out: Path) -> None:
    """Read, convert and write; then say what came of it."""
    with counting(f"importing {command.source.format}") as progress:
        collection = collect(
            command.source,
            out,
            command.conversion,
            executor=RayExecutor() if command.ray else executor_of(command.workers, command.limit or sys.maxsize),
            damage=command.damage,
            limit=command.limit,
            validation_share=command.validation_share,
            resume=command.resume,
            command=command_line(),
            progress=progress,
        )
    _say_collection(collection, out)
    say(f"next: hallucade validate {out}")


def inspect(store: Positional[Path], /, card: Path | None = None) -> None:
    """Say what is in a store, and draw it as a data card.

    Args:
        store: a store's folder.
        card: the page to write; by default STORE.html beside the store.
    """
    opened = EpisodeStore(store)
    summary = summarise(opened)
    for name, value in facts(summary).items():
        say(f"{name:>12}: {value}")
    for name, counts in summary.action_counts.items():
        total = max(sum(counts.values()), 1)
        say(f"{name:>12}: " + ", ".join(f"{value} {count / total:.1%}" for value, count in counts.items()))
    problems = check_store(opened)
    _say_problems(problems)
    if len(opened):
        target = card or store.resolve().with_name(f"{store.resolve().name}.html")
        write_card(target, opened, summary, problems)
        say(f"data card: {target}")


def validate(store: Positional[Path], /, full: bool = False, quick: bool = False) -> None:
    """Say what is wrong with a store, before a training is spent on it.

    Reads every byte, and estimates from the pictures whether each action belongs to its frame and turns the view as the
    action space says. Exit code 1 if something is wrong.

    Args:
        store: a store's folder.
        full: look at every frame, instead of a sample that is enough for most stores.
        quick: compare the checksums of the sample only.
    """
    opened = EpisodeStore(store)
    with staged("validating") as stage:
        validation = validate_store(opened, full=full, checksums=not quick, progress=stage)
    for line in validation.checked:
        say(f"checked {line}")
    for group in validation.alignment.groups:
        say(f"actions and motion in {group.where}, {group.frames:,} pairs of frames: {group.decision}")
        for control in group.controls:
            say(f"  {control.control:>12}: {control.decision}")
    _say_problems(validation.problems)
    if validation.failed:
        sys.exit(1)


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command as it was typed, without the options that do not change what comes out."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if word.split("=")[0] not in EXECUTION:
            kept.append(word)
        elif "=" not in word and words and not words[0].startswith("-"):
            words.pop(0)
    return shlex.join(["hallucade", *kept])


def _leading(arguments: Sequence[str]) -> int:
    """Return how many arguments come before the first option."""
    return next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))


def _say_formats() -> None:
    say("usage: hallucade import [FORMAT] SRC STORE [options]")
    for name, importer in IMPORTERS.items():
        say(f"  {name:13} {importer.about}")
    say("options of a format: hallucade import FORMAT SRC STORE --help")


def _say_collection(collection: Collection, out: Path) -> None:
    for refused in collection.refused:
        say(f"left out: {refused.name}: {refused.path}: {refused.what}")
    for name in collection.empty:
        say(f"nothing kept of: {name}")
    noted = [record for record in collection.store.episodes if record.notes]
    if noted:
        say(f"notes on {len(noted)} episode(s), the first: {noted[0].name}: {'; '.join(noted[0].notes)}")
    _say_store(collection.store, out)


def _say_store(store: EpisodeStore, out: Path) -> None:
    say(f"{store.total_frames:,} frames in {len(store)} episodes, {store.hours:.2f} hours: {out}")


def _say_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        say(str(problem))
    say("no problems found" if not problems else f"{len(problems)} problem(s)")
