"""What to record of an environment, as one value that a recipe can hold."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from hallucade.config import Config
from hallucade.data.collect import Progress, collect, settings_of
from hallucade.data.conversion import ConversionConfig
from hallucade.data.environment import EnvironmentConfig
from hallucade.data.executors import executor_of
from hallucade.data.manifest import MANIFEST, StoreError
from hallucade.data.store import EpisodeStore


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecordingConfig(Config):
    """An environment, who plays it, and what is kept; the twin of `RecordingConfig` for games of other packages.

    Raises:
        ValueError: no frames are asked for.
    """

    source: EnvironmentConfig
    conversion: ConversionConfig = field(default_factory=ConversionConfig)
    frames: int = 50_000  # at least: episodes are never cut short
    validation_share: float = 0.05  # of the episodes

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}; it must be at least 1")


def record_environment(
    config: EnvironmentRecordingConfig,
    path: str | os.PathLike[str],
    *,
    workers: int | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> EpisodeStore:
    """Open the recording at `path`, or make it, or go on with it; a whole one needs no simulator.

    Args:
        config: what to record.
        path: a folder that is absent or empty, or holds this recording.
        workers: processes that play; by default one a core.
        command: the command line that asked for it, kept with the data.
        progress: called as frames are recorded.

    Raises:
        ValueError: the environment is not installed, or no such bot plays it.
        StoreError: the folder holds something else, or the disk is full.
    """
    if (Path(path) / MANIFEST).exists():
        store = EpisodeStore(path)
        _refuse_other(store, config)
        if store.total_frames >= config.frames:
            return store
    return collect(
        config.source,
        path,
        config.conversion,
        executor=executor_of(workers, config.frames),
        frames=config.frames,
        validation_share=config.validation_share,
        resume=True,
        command=command,
        progress=progress,
    ).store


def _refuse_other(store: EpisodeStore, config: EnvironmentRecordingConfig) -> None:
    """Compare what was recorded, without the simulator that ``collect`` would ask."""
    there, wanted = store.manifest.settings, settings_of(config.source, config.conversion)
    differing = [name for name, value in wanted.items() if there.get(name, value) != value]
    if "source.environment" not in there:
        differing = ["source.environment"]
    if differing:
        name = differing[0]
        what = f"it was made with {name} {there.get(name)!r}, not {wanted[name]!r}"
        raise StoreError(store.path, what, "train on it with --store, or record into another folder")
