"""The stages of a run on its play: what each of them shows, and in batches of which size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from hallucade.data.clips import ClipWindows
from hallucade.data.framing import Framing
from hallucade.data.latent_cache import LatentCache
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.recipes.run_config import Experiment, RunConfig, Source
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.curriculum import Stage, StagedClips, named

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


def framings(stages: Sequence[Stage], recorded: Source) -> list[Framing]:
    """Return what each stage shows of recorded play.

    Raises:
        ValueError: a rate does not divide the recording's; names the stage.
    """
    found: list[Framing] = []
    for number, stage in enumerate(stages):
        try:
            found.append(Framing.of(recorded, stage.size, stage.fps))
        except ValueError as error:
            raise named(number, stage, error) from error
    return found


def on_play(config: AnyExperiment, recorded: Source) -> AnyExperiment:
    """Return the run with the play that it learns, as its last stage shows it: so it will be played.

    Raises:
        ValueError: a stage cannot show it.
    """
    return replace(config, source=recorded.framed(framings(config.stages, recorded)[-1]))


def resolved(config: RunConfig, store: EpisodeStore | Mixture) -> RunConfig:
    """Return the run as it is trained on a store: its play as the last stage shows it, and the size of every batch.

    Raises:
        ValueError: a stage cannot show it, or is given too few tokens.
    """
    recorded = Source.of(store)
    config = on_play(config, recorded)
    return (
        config if all(stage.batch for stage in config.stages) else counted(config, config.tokenizer.build(), recorded)
    )


def counted(config: RunConfig, tokenizer: Tokenizer, recorded: Source) -> RunConfig:
    """Return the run with the number of clips in every batch that was given in tokens.

    Such a batch holds as many clips as the tokens suffice for, a multiple of the parts that it is accumulated from.

    Raises:
        ValueError: they do not suffice for one, or the tokenizer cannot take a size; names the stage.
    """
    stages: list[Stage] = []
    shown = framings(config.stages, recorded)
    for number, (stage, framing) in enumerate(zip(config.stages, shown, strict=True)):
        try:
            shape = tokenizer.latent_shape(*(framing.size or recorded.frame_size))
            stages.append(_counted(stage, config.model.tokens(shape), tokenizer.stride, config.trainer.accumulate))
        except ValueError as error:
            raise named(number, stage, error) from error
    return replace(config, stages=tuple(stages))


def _counted(stage: Stage, tokens: int, stride: int, parts: int) -> Stage:
    if stage.batch:
        return stage
    clip = -(-stage.frames // stride) * tokens
    batch = stage.tokens // (clip * parts) * parts
    if not batch:
        raise ValueError(
            f"{stage.tokens} tokens do not suffice for {parts} clip(s) of {clip}; give {clip * parts} or more, or "
            "shorter clips of smaller pictures"
        )
    return replace(stage, batch=batch, tokens=0)


def make_clips(config: Experiment, store: EpisodeStore | Mixture, latents: Sequence[LatentCache] = ()) -> StagedClips:
    """Return the clips of every stage, in order: of frames, or of the latents of caches.

    Raises:
        ValueError: a stage's clips are longer than any episode, its rate does not divide the store's, or its size is
            not that of the caches; names the stage.
        StoreError: a cache is of another store.
    """
    recorded = Source.of(store)
    shown = framings(config.stages, recorded)
    actions = recorded.framed(shown[-1]).actions
    sources: list[ClipWindows] = []
    for number, (stage, framing) in enumerate(zip(config.stages, shown, strict=True)):
        try:
            sources.append(
                ClipWindows(
                    store,
                    actions,
                    frames=stage.frames,
                    batch=stage.batch,
                    seed=config.trainer.seed,
                    focus=config.focus,
                    balance=config.balance,
                    damage=config.damage,
                    latents=latents,
                    framing=framing,
                    pace=framing.stride / shown[-1].stride,
                )
            )
        except ValueError as error:
            if type(error) is not ValueError:  # it says which file, and what to do
                raise
            raise named(number, stage, error) from error
    return StagedClips(config.stages, sources, recorded.frame_size)
