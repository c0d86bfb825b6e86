"""Stretches of held-out play that dreams are held against, shown as a stage shows play."""

from dataclasses import replace

from hallucade.data.episode import Episode
from hallucade.data.framing import AS_RECORDED, Framing
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.recipes.prompts import validation_episodes

PROMPT_COUNT = 16  # kept with the weights
SAMPLE_FRAMES = 96  # dreamed, where validation episodes are that long


def shown_frames(
    store: EpisodeStore | Mixture,
    prompt_frames: int,
    dreamed: int | None = None,
    framing: Framing = AS_RECORDED,
) -> int:
    """Return how many frames are shown: prompt and dream, no longer than the store's validation episodes.

    Without a number a dream is as long as those of sample videos.
    """
    dreamed = SAMPLE_FRAMES if dreamed is None else dreamed
    stores = [store] if isinstance(store, EpisodeStore) else store.stores
    longest = min(max((part.episodes[i].frames for i in part.indices("validation")), default=0) for part in stores)
    return max(prompt_frames + 1, min(prompt_frames + dreamed, (longest - 1) // framing.stride + 1))


def prompted_episodes(
    store: EpisodeStore | Mixture, prompt_frames: int, framing: Framing = AS_RECORDED
) -> list[Episode]:
    """Cut the stretches whose starts are kept with the weights as prompts.

    Raises:
        ValueError: a store has no validation episode that is long enough.
    """
    length = shown_frames(store, prompt_frames, framing=framing)
    return held_out_episodes(store, PROMPT_COUNT, length, framing)


def held_out_episodes(
    store: EpisodeStore | Mixture, count: int, frames: int, framing: Framing = AS_RECORDED
) -> list[Episode]:
    """Cut `count` stretches of `frames` shown frames from validation episodes; of a mixture, from its stores in turn.

    Raises:
        ValueError: a store has no validation episode that is long enough.
    """
    span = framing.span(frames)
    if isinstance(store, EpisodeStore):
        recorded = validation_episodes(store, count, span)
    else:
        each = -(-count // len(store.stores))
        stretches = [validation_episodes(part, each, span) for part in store.stores]
        mixed = [stretch for turn in zip(*stretches, strict=True) for stretch in turn][:count]
        states_differ = len({part.state_names for part in store.stores}) > 1
        recorded = [replace(stretch, state=None) if states_differ else stretch for stretch in mixed]
    return [framing.episode(episode, store.actions) for episode in recorded]
