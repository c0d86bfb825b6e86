"""Compose a run from its config: store, method, clips, callbacks, trainer."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from hallucade.data.environment_recording import EnvironmentRecordingConfig, record_environment
from hallucade.data.latent_cache import LatentCache
from hallucade.data.manifest import StoreError
from hallucade.data.mixture import Mixture
from hallucade.data.recorder import Progress, RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods.base import Method
from hallucade.methods.pretrain import Pretrain
from hallucade.models.base import WorldModel
from hallucade.objectives.base import Setting
from hallucade.recipes.console import say
from hallucade.recipes.encoder_start import encoder_named, given_encoder, start_from_encoder
from hallucade.recipes.held_out import held_out_episodes, prompted_episodes, shown_frames
from hallucade.recipes.latents import KeepTokenizer, on_latents, with_given_weights
from hallucade.recipes.load import make_world, read_config
from hallucade.recipes.networks import MODEL, GivenNetwork, build_networks, given_networks
from hallucade.recipes.picture_distance import lpips_distance
from hallucade.recipes.prompts import PROMPTS, prompt_of, save_prompts
from hallucade.recipes.run_config import Experiment, RunConfig, Source
from hallucade.recipes.stage_samples import StagedSamples, sample_videos
from hallucade.recipes.stage_start import role_of, stage_starts
from hallucade.recipes.stages import counted, framings, make_clips, on_play
from hallucade.recipes.validation import Validation, make_validation
from hallucade.rollout import Prompt, World
from hallucade.tokenizers.base import Tokenizer
from hallucade.training.checkpoint import CheckpointFolder
from hallucade.training.curriculum import StagedClips
from hallucade.training.run_folder import CHECKPOINTS
from hallucade.training.trainer import Callback, Trainer, TrainingResult

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


def find_or_record(config: Experiment, path: Path, progress: Progress | None = None) -> EpisodeStore:
    """Open the store at `path`, or record there what the recipe asks for; an unfinished recording goes on.

    Raises:
        ValueError: there is no store, and the recipe does not say what to record or what it needs is not installed.
    """
    command = f"hallucade train {config.recipe}"
    match config.recording:
        case RecordingConfig():
            return record(config.recording, path, resume=True, command=command, progress=progress)
        case EnvironmentRecordingConfig():
            return record_environment(config.recording, path, command=command, progress=progress)
        case None:
            if config.importing is not None and not path.exists():
                remedy = f"make it with `{config.importing.format(store=path)}`, or give another one with --store"
                raise StoreError(path, f"there is no such folder, and {config.recipe} cannot record its play", remedy)
            return EpisodeStore(path)


def train(
    config: RunConfig,
    store: EpisodeStore | Mixture,
    run_folder: Path,
    *,
    latents: Sequence[LatentCache] = (),
    networks: Mapping[str, Path] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train what `config` describes on `store`, into `run_folder`.

    Args:
        config: the recipe, with the user's changes.
        store: recorded play, of one store or of several.
        run_folder: new or empty, unless `resume`.
        latents: one cache a store; nothing is encoded then.
        networks: runs of the networks that the recipe's method asks for, by role; "model" is where to start from, which
            may be a pre-trained encoder.
        resume: go on from the newest whole checkpoint.
        progress: show a bar, or lines where there is no terminal.

    Raises:
        ValueError: the folder is not empty, the resumed run was another, or the store or a cache does not suit the
            recipe, or a network is missing or does not.
        CheckpointError: a checkpoint cannot be written or read.
        TrainingDivergedError: losses stayed non-finite.
    """
    for remark in () if config.objective is None else config.objective.remarks():
        warnings.warn(remark, stacklevel=2)
    recorded = Source.of(store)
    config = with_given_weights(on_play(on_latents(config, latents), recorded), run_folder)
    torch.manual_seed(config.trainer.seed)  # of the fresh weights
    tokenizer = config.tokenizer.build()
    config = counted(config, tokenizer, recorded)
    clips = make_clips(config, store, latents)
    began = begun_run(run_folder) if resume else None
    encoder = given_encoder(config, networks or {}, began)
    given = given_networks(config, {} if encoder is not None else networks or {}, began)
    origins = {role: network.origin for role, network in given.items()}
    config = replace(
        config, networks=origins if began is None else began.networks, encoder=encoder_named(encoder, began)
    )
    if resume:
        check_same_run(config, run_folder)
    method, model = make_method(config, tokenizer, given)
    if encoder is not None and began is None:
        taken = start_from_encoder(model, encoder)
        if progress:
            say(taken.describe())
    starts = stage_starts(config, tokenizer, model, None if began is None else begun_steps(run_folder))
    if began is None:
        config = replace(config, networks=origins | {role_of(n): start.origin for n, start in starts.items()})
    if progress:
        for number, start in starts.items():
            say(f"stage {number} starts {start.describe()}")
    trainer = Trainer(
        config.trainer,
        method,
        clips,
        run_folder,
        run_config=config.to_json(),
        callbacks=callbacks_of(config, store, clips, tokenizer, model, run_folder),
        fingerprint="+".join([store.fingerprint, *(cache.fingerprint for cache in latents)]),
        progress=progress,
        entering=starts,
    )
    return trainer.train(resume)


def callbacks_of(
    config: RunConfig,
    store: EpisodeStore | Mixture,
    clips: StagedClips,
    tokenizer: Tokenizer,
    model: WorldModel[Any],
    run_folder: Path,
) -> list[Callback]:
    """Return what a training of a world does beside its steps: keep what play needs, show dreams, validate them."""
    held_out = prompted_episodes(store, config.prompt_frames, framings(config.stages, Source.of(store))[-1])
    return [
        KeepPrompts(run_folder, [prompt_of(episode, config.prompt_frames) for episode in held_out]),
        KeepTokenizer(run_folder, config.tokenizer),
        StagedSamples(clips, sample_videos(config, store, tokenizer, model, run_folder)),
        *validations(config, store, make_world(config, tokenizer, model), run_folder),
    ]


def validations(config: RunConfig, store: EpisodeStore | Mixture, world: World, run_folder: Path) -> list[Validation]:
    """Return the callback that validates dreams, if the config asks for one.

    Raises:
        ValueError: what it names cannot be used.
    """
    validation = config.validation
    if validation.every is None:
        return []
    framing = framings(config.stages, Source.of(store))[-1]
    length = shown_frames(store, config.prompt_frames, validation.frames, framing)
    episodes = [] if validation.cases else held_out_episodes(store, validation.rollouts, length, framing)
    return [make_validation(validation, world, episodes, config.prompt_frames, run_folder)]


def make_method(
    config: RunConfig, tokenizer: Tokenizer, given: Mapping[str, GivenNetwork]
) -> tuple[Method, WorldModel[Any]]:
    """Return what trains a run, and the network that it is all about."""
    networks = build_networks(config, given, tokenizer)
    return method_of(config, tokenizer, networks), networks[MODEL]


def method_of(config: RunConfig, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]]) -> Method:
    """Return what trains a run's networks, which are given by role.

    Raises:
        ValueError: the method cannot train them, or on such clips.
    """
    if config.method is not None:
        method = config.method.build(tokenizer, networks, config.sampler.build(), config.trainer.seed)
        method.check_clips([(stage.steps, stage.frames) for stage in config.stages])
        return method
    assert config.objective is not None
    return Pretrain(tokenizer, networks[MODEL], config.objective.build_for(setting_of(config, tokenizer)))


def setting_of(config: RunConfig, tokenizer: Tokenizer) -> Setting:
    """Return what an objective may ask of a run."""
    source = config.source
    assert source is not None
    lpips = partial(lpips_distance, frame_size=source.frame_size)
    return Setting(tokenizer, source.actions, source.frame_size, lpips)


class KeepPrompts:
    """A trainer callback: write the prompts once, after the trainer has claimed the run folder."""

    every = 1
    reads_weights = False

    def __init__(self, run_folder: Path, prompts: Sequence[Prompt]) -> None:
        self._run_folder, self._prompts = run_folder, prompts

    def __call__(self, step: int, trainer: Trainer) -> None:
        if not (self._run_folder / PROMPTS).exists():
            save_prompts(self._run_folder, self._prompts)


def trained_for(config: AnyExperiment, steps: int) -> AnyExperiment:
    """Return the run made longer or shorter: its stages, and the phases of method or objective, keep their shares.

    A dream is sampled at the end at least.

    Raises:
        ValueError: fewer steps than one.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; train one or more")
    ends = [sum(stage.steps for stage in config.stages[: i + 1]) for i in range(len(config.stages))]
    edges = [0, *(round(end * steps / ends[-1]) for end in ends)]
    lengths = [after - before for before, after in pairwise(edges)]
    stages = tuple(replace(s, steps=n) for s, n in zip(config.stages, lengths, strict=True) if n > 0)
    trainer = replace(config.trainer, steps=steps)
    changed = replace(config, stages=stages, trainer=trainer, sample_every=min(config.sample_every, steps))
    if isinstance(changed, RunConfig) and changed.method is not None:
        return replace(changed, method=changed.method.lasting(steps, planned=ends[-1]))
    if isinstance(changed, RunConfig) and changed.objective is not None:
        return replace(changed, objective=changed.objective.lasting(steps, planned=ends[-1]))
    return changed


def begun_run(run_folder: Path) -> RunConfig | None:
    """Return the config of the run in a folder, if there is one."""
    checkpoints = CheckpointFolder(run_folder / CHECKPOINTS)
    return read_config(run_folder, checkpoints.load(weights_only=True)) if checkpoints.steps() else None


def begun_steps(run_folder: Path) -> int:
    """Return the steps of a run's newest checkpoint."""
    return CheckpointFolder(run_folder / CHECKPOINTS).steps()[-1]


def check_same_run(config: RunConfig, run_folder: Path) -> None:
    """Refuse to resume a run with another config.

    Raises:
        ValueError: names every field that differs.
    """
    began = begun_run(run_folder)
    if began is None:
        return
    if config.tokenizer.agrees(began.tokenizer):  # wherever its weights lie
        config = replace(config, tokenizer=began.tokenizer)
    refuse_differences(run_folder, began.to_json(), config.to_json())


def refuse_differences(run_folder: Path, began: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse to go on with another config than a run began with, both as JSON.

    Raises:
        ValueError: names every field that differs.
    """
    found = list(differences(began, config))
    if found:
        raise ValueError(f"{run_folder} holds another run: {'; '.join(found)}; choose another folder")


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Say of every value that differs between two configs as JSON where it stands, what it was and what it is."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for key in after:
            yield from differences(before[key], after[key], f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} was {old}, is {new}"
