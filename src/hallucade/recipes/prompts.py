"""Real play that dreams start from, kept beside the weights so that a run can be played from its folder alone."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from hallucade.data.episode import Episode
from hallucade.data.store import EpisodeStore
from hallucade.rollout import Prompt
from hallucade.training.checkpoint import CheckpointError

PROMPTS = "prompts.safetensors"


def validation_episodes(store: EpisodeStore, count: int, frames: int) -> list[Episode]:
    """Cut `count` stretches of `frames` frames from validation episodes, spread evenly over them.

    Raises:
        ValueError: no validation episode is long enough.
    """
    lengths = {i: store.episodes[i].frames for i in store.indices("validation")}
    if not lengths:
        what = f"none of the {len(store)} episode(s) of {store.path} is for validation, and dreams are judged on those"
        raise ValueError(f"{what}; import or record two or more (of a single video, cut off a part)")
    long_enough = [i for i, length in lengths.items() if length >= frames]
    if not long_enough:
        what = f"no validation episode of {store.path} holds {frames} frames, the longest has {max(lengths.values())}"
        raise ValueError(f"{what}; record more, or longer, episodes")
    picked: list[Episode] = []
    for k in range(count):
        index = long_enough[k % len(long_enough)]
        room = store.episodes[index].frames - frames
        picked.append(store.read(index, room * (k + 1) // (count + 1), frames))
    return picked


def prompt_of(episode: Episode, frames: int) -> Prompt:
    """Return the first `frames` frames of an episode as a prompt."""
    state = None if episode.state is None else np.asarray(episode.state[frames - 1], np.float64)
    return Prompt(np.array(episode.frames[:frames]), np.array(episode.actions[: frames - 1]), state)


def save_prompts(folder: Path, prompts: Sequence[Prompt]) -> None:
    """Write prompts of equal length into a run folder, whole or not at all."""
    columns = {"frames": np.stack([p.frames for p in prompts]), "actions": np.stack([p.actions for p in prompts])}
    states = [p.state for p in prompts if p.state is not None]
    if len(states) == len(prompts):
        columns["state"] = np.stack(states)
    temporary = folder / f"{PROMPTS}.tmp"
    temporary.write_bytes(safetensors.numpy.save(columns))
    os.replace(temporary, folder / PROMPTS)


def load_prompts(folder: Path) -> tuple[Prompt, ...]:
    """Read the prompts of a run folder; none if it has none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / PROMPTS
    if not path.is_file():
        return ()
    try:
        columns = safetensors.numpy.load_file(path)
        states = columns.get("state", [None] * len(columns["frames"]))
        triples = zip(columns["frames"], columns["actions"], states, strict=True)
        return tuple(Prompt(frames, actions, state) for frames, actions, state in triples)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy it again from where the run was made") from error
