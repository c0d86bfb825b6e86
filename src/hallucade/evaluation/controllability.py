"""Does a dream obey? An inverse dynamics model reads the actions off it, and off real play of the same clips.

What it reads off real frames is the ceiling: no dream can be more legible than the game. It is shown recorded clips
dreamed again under their own actions, and dreams under actions that nobody played: one control held, then turned round.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from hallucade.actions import DIRECTIONS, ActionSpace, Axis, Button
from hallucade.config import Config
from hallucade.data.clips import ClipWindows
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.action_scores import ActionCounts, count_actions, scored, shares_of_ceiling
from hallucade.evaluation.game_check.dreaming import dream_batches
from hallucade.evaluation.recorded_clips import check_same_game
from hallucade.evaluation.result import Evaluation, Progress, silent
from hallucade.models.inverse_dynamics import InverseDynamics
from hallucade.rollout import Prompt, World

SPLIT = "validation"
RECORDED, DRAWN, OWN = "control/", "control_drawn/", "inverse_dynamics/"  # how names of metrics begin


@dataclass(frozen=True, kw_only=True)
class ControllabilityConfig(Config):
    """Which clips are dreamed, and how actions are drawn.

    Raises:
        ValueError: a number that leaves nothing to measure.
    """

    clips: int = 64
    prompt_frames: int = 8
    frames: int = 64  # dreamed of each
    hold: int = 8  # frames that a drawn action is held before it is turned round; 0 leaves drawn actions out
    batch: int = 64
    resamples: int = 1000  # of clips, for intervals
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clips", "prompt_frames", "frames", "batch", "resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")
        if self.hold < 0:
            raise ValueError(f"hold is {self.hold} frames; use 0 for no drawn actions, or more")


@dataclass(frozen=True)
class ActionReader:
    """A trained inverse dynamics model, and what is to be known of it."""

    network: InverseDynamics
    fingerprint: str
    data: str  # fingerprint of the play that it was trained on
    run: str = ""

    def check(self, actions: ActionSpace, frame_size: tuple[int, int], whose: str) -> None:
        """Refuse a game that it cannot read.

        Raises:
            ValueError: names both action spaces, or both sizes.
        """
        if difference := actions.difference(self.network.actions):
            raise ValueError(
                f"the inverse dynamics model {self.run} reads other actions than {whose} has: {difference}; "
                "train one on play of the same game"
            )
        self.network.check_frames(self.network.config.window, frame_size)


def evaluate_controllability(
    world: World,
    store: EpisodeStore,
    reader: ActionReader,
    config: ControllabilityConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Read actions off dreams of held-out clips; metrics are named ``control/f1_macro``, ``control_drawn/f1_macro``.

    Of real frames of the same clips the same is measured as ``..._real``; ``..._low`` and ``..._high`` are the ends of
    95 % bootstrap intervals over clips; ``control/f1_macro_share`` is the dream's part of that ceiling.

    Raises:
        ValueError: the model reads another game or size, the store is of another game, or clips are too short.
    """
    config, network = config or ControllabilityConfig(), reader.network
    check_same_game(world, store)
    reader.check(world.actions, world.frame_size, "the world")
    p, before, after = config.prompt_frames, network.config.before, network.config.after
    if p <= before or config.frames <= after:
        raise ValueError(
            f"prompts of {p} and dreams of {config.frames} frames; the inverse dynamics model needs more than {before} "
            f"and more than {after}"
        )
    window = p + config.frames
    windows = ClipWindows(store, world.actions, frames=window, batch=config.clips, seed=config.seed, split=SPLIT)
    frames, rows = windows.windows.gather(windows.ids_at(0))
    prompts = [Prompt(f[:p], r[: p - 1]) for f, r in zip(frames, rows, strict=True)]
    recorded = rows[:, p - 1 :]
    real = count_actions(network, recorded[:, : config.frames - after], _read(network, frames[:, p - 1 - before :]))
    metrics = dict(scored(real, RECORDED, "_real", config.resamples, config.seed))
    kinds = {RECORDED: recorded}
    if config.hold:
        kinds[DRAWN] = held_and_reversed(world.actions, len(prompts), config.frames, config.hold, config.seed)
    for number, (prefix, given) in enumerate(kinds.items()):
        report = _part(progress, number, len(kinds), len(prompts))
        found = _dreamed(world, network, prompts, given, config, report)
        metrics |= scored(found, prefix, "", config.resamples, config.seed)
        if prefix == RECORDED:
            metrics |= shares_of_ceiling(found, real, prefix, config.resamples, config.seed)
    protocol = (
        f"{len(prompts)} windows of {window} frames of the {SPLIT} split, seed {config.seed}; prompt of {p} frames; "
        f"drawn actions are held for {config.hold} frames; inverse dynamics model {reader.fingerprint} ({reader.run}), "
        f"trained on store {reader.data}; intervals over clips by {config.resamples:,} bootstrap resamples"
    )
    return Evaluation(metrics, protocol={"Controllability": protocol}, notes=_notes(real))


def evaluate_reader(
    reader: ActionReader,
    store: EpisodeStore,
    config: ControllabilityConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Read actions off real clips that training never saw: the ceiling, named ``inverse_dynamics/f1_macro``.

    Raises:
        ValueError: the store is of another game or size, or has no validation episode that is long enough.
    """
    config = config or ControllabilityConfig()
    reader.check(store.actions, store.frame_size, "the store")
    counts = real_counts(reader.network, store, config)
    progress("reading real play", 1.0)
    metrics = scored(counts, OWN, "", config.resamples, config.seed)
    protocol = f"{len(counts.frames)} windows of {config.frames} frames of the {SPLIT} split, seed {config.seed}"
    about = {"Controllability": protocol, "trained on store": reader.data, "judged on store": store.fingerprint}
    return Evaluation(metrics, protocol=about, notes=_notes(counts))


def real_counts(network: InverseDynamics, store: EpisodeStore, config: ControllabilityConfig) -> ActionCounts:
    """Read actions off real clips of the validation split, as many as fit into `batch` at a time."""
    length = max(config.frames, network.config.window)
    windows = ClipWindows(store, store.actions, frames=length, batch=config.clips, seed=config.seed, split=SPLIT)
    ids, found = windows.ids_at(0), list[ActionCounts]()
    for start in range(0, len(ids), config.batch):
        frames, rows = windows.windows.gather(ids[start : start + config.batch])
        last = length - 1 - network.config.after
        found.append(count_actions(network, rows[:, network.config.before : last], _read(network, frames)))
    return _together(found)


def held_and_reversed(
    actions: ActionSpace, clips: int, frames: int, hold: int, seed: int
) -> Float32[np.ndarray, "b n c"]:
    """Draw for each clip one control, and return rows that hold it and turn it round, every `hold` frames.

    An axis goes the other way; a button or option whose key points somewhere gives way to the one that points back, and
    any other is let go.
    """
    settings = _settings(actions)
    drawn = np.random.default_rng(seed).permutation(np.arange(clips) % len(settings))
    turns = np.arange(frames) // hold % 2
    return np.stack([np.stack(settings[int(i)])[turns] for i in drawn])


def _settings(actions: ActionSpace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a row for every way to hold one control alone, and the row that turns it round."""
    found = list[tuple[np.ndarray, np.ndarray, tuple[str, ...]]]()  # the row, what turns an axis round, the keys
    for column, control in enumerate(actions.controls):
        match control:
            case Button():
                found.append((_alone(actions, column, 1.0), actions.idle, control.keys))
            case Axis():
                ends = [_alone(actions, column, end) for end in control.key_values]
                found += [(ends[0], ends[1], ()), (ends[1], ends[0], ())]
            case _:
                keys = control.keys or ((),) * len(control.options)
                found += [(_alone(actions, column, i), actions.idle, keys[i]) for i in range(1, len(control.options))]
    return [(row, _opposite(keys, found, back)) for row, back, keys in found]


def _alone(actions: ActionSpace, column: int, value: float) -> np.ndarray:
    row = actions.idle
    row[column] = value
    return row


def _opposite(
    keys: tuple[str, ...], others: list[tuple[np.ndarray, np.ndarray, tuple[str, ...]]], back: np.ndarray
) -> np.ndarray:
    """Return the row of what has a key that points the other way, or `back`."""
    for axis, sign in (DIRECTIONS[key] for key in keys if key in DIRECTIONS):
        for row, _, theirs in others:
            if any(DIRECTIONS.get(key) == (axis, -sign) for key in theirs):
                return row
    return back


def _dreamed(
    world: World,
    network: InverseDynamics,
    prompts: list[Prompt],
    given: Float32[np.ndarray, "b n c"],
    config: ControllabilityConfig,
    progress: Callable[[int], None],
) -> ActionCounts:
    """Dream under given actions, and compare these with what is read off the dream."""
    found, done = list[ActionCounts](), 0
    for batch, dreamed in dream_batches(world, prompts, given, config.batch, config.seed):
        lead = np.stack([prompt.frames[-1 - network.config.before :] for prompt in prompts[batch]])
        read = _read(network, np.concatenate([lead, dreamed], 1))
        found.append(count_actions(network, given[batch, : read.shape[1]], read))
        done += len(dreamed)
        progress(done)
    return _together(found)


def _read(network: InverseDynamics, frames: UInt8[np.ndarray, "b t h w 3"]) -> Float32[np.ndarray, "b m c"]:
    return network.read(torch.from_numpy(np.ascontiguousarray(frames))).cpu().numpy()


def _together(found: list[ActionCounts]) -> ActionCounts:
    first, *others = found
    for other in others:
        first = first.joined(other)
    return first


def _part(progress: Progress, number: int, parts: int, clips: int) -> Callable[[int], None]:
    return lambda done: progress("reading actions off dreams", (number + done / clips) / parts)


def _notes(counts: ActionCounts) -> tuple[str, ...]:
    """Say what was never held, and so has no F1."""
    never = [name for i, name in enumerate(counts.classes) if not (counts.hits + counts.missed)[:, i].any()]
    return (f"Never held in these clips, so without F1: {', '.join(never)}.",) if never else ()
