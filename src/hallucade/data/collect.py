"""Reads the episodes of a source side by side and writes them in order: what `import` and `record` both do.

The store depends on the source and the conversion alone: any number of workers, on this machine or on a cluster, an
interruption and a resumption, all give the same bytes.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from hallucade.config import Config
from hallucade.data.conversion import ConversionConfig
from hallucade.data.episode import Episode
from hallucade.data.executors import Executor, Read, Reader, Refused, serial
from hallucade.data.manifest import MANIFEST, StoreColumn, StoreError, StoreManifest, refuse_other, split_of
from hallucade.data.source import SourceConfig, SourceError
from hallucade.data.store import EpisodeStore
from hallucade.data.writer import StoreWriter

C = TypeVar("C", bound=Config)
Setting = int | float | str
Progress = Callable[[int, int], None]  # (episodes of the source that are done, episodes)


@dataclass(frozen=True)
class Collection:
    """What came of it."""

    store: EpisodeStore
    refused: tuple[Refused, ...]  # left out, with the policy "skip"
    empty: tuple[str, ...]  # episodes of the source of which nothing was kept


def collect(
    source: SourceConfig,
    path: str | os.PathLike[str],
    conversion: ConversionConfig = ConversionConfig(),  # noqa: B008 - frozen
    *,
    executor: Executor | None = None,
    damage: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
    frames: int | None = None,
    validation_share: float = 0.05,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Collection:
    """Read a source into the store at `path` and open it.

    Args:
        source: where the episodes come from.
        path: a folder that is absent or empty, unless `resume`.
        conversion: rate, size, and what is cut.
        executor: who reads; by default this process, one episode after the other.
        damage: what to do about an episode that cannot be read: stop, or leave it out and say so in the manifest.
        limit: take only so many episodes, the first ones; a resumed collection may take more.
        frames: stop when the store holds at least so many; needed where a source never ends, as a game.
        validation_share: of the episodes, where the source has no split of its own.
        resume: continue what is there; absent counts as nothing yet.
        command: the command line that asked for it, kept with the data.
        progress: called after each episode of the source; with `frames` it counts those.

    Raises:
        SourceError: the source cannot be read, or with the policy "raise" one of its episodes; what came before is
            kept.
        StoreError: the folder is not empty, or holds something else, or the disk is full.
        ValueError: the source has nothing to read, or an episode differs from the first in size or columns.
    """
    reader = Reader(source, conversion)
    opened = reader.opened
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit} episodes; use 1 or more")
    if not 0 <= validation_share <= 0.5:
        raise ValueError(f"validation share is {validation_share}; use 0 to 0.5")
    names = opened.episodes if limit is None else opened.episodes[:limit]
    if len(names) == 0:
        raise SourceError(opened.origin, "there is no episode to read", "check the path and the filters")
    about = partial(_manifest, reader, validation_share, command)
    with Collector(Path(path), about, names, resume, usual_settings(source, conversion)) as collector:
        left = islice(names, collector.first, None)
        for number, read in enumerate((executor or serial)(reader, left)):
            collector.take(read, collector.first + number, damage)
            if progress is not None and frames is not None:
                progress(min(collector.frames, frames), frames)
            elif progress is not None:
                progress(collector.first + number + 1, len(names))
            if collector.full(frames):
                break
        if collector.writer is None:
            raise SourceError(
                opened.origin, "nothing of it was kept", "; ".join(collector.why[:3]) or "check the source"
            )
    return Collection(EpisodeStore(path), tuple(collector.refused), tuple(collector.empty))


class Collector:
    """Writes what was read; the store is made with the first episode, which says what columns there are."""

    def __init__(
        self,
        path: Path,
        about: Callable[[Episode], StoreManifest],
        names: Sequence[str],
        resume: bool,
        usual: Mapping[str, Setting],
    ) -> None:
        self._path, self._about, self._names = path, about, names
        self._usual = usual  # what it means where a store was begun before there was such an option
        self.writer: StoreWriter | None = None
        self.refused: list[Refused] = []
        self.empty: list[str] = []
        self.why: list[str] = []  # nothing was kept
        self._frames = 0  # in the store
        self.first = self._done = 0  # names that are done, and stretches of the next one that are in the store already
        self._suits = False  # the store is known to be of this source and conversion
        if resume and (path / MANIFEST).exists():
            self._resume(StoreWriter(path))
        elif path.is_dir() and any(path.iterdir()) and not resume:
            more = ", or go on with the store in it: --resume" if (path / MANIFEST).exists() else ""
            raise StoreError(path, "the folder is not empty", f"choose another one{more}")

    def __enter__(self) -> "Collector":
        return self

    def __exit__(self, *error: Any) -> None:
        if self.writer is not None:
            self.writer.__exit__(*error)

    @property
    def frames(self) -> int:
        """Frames in the store."""
        return self._frames

    def full(self, frames: int | None) -> bool:
        """Say whether the store holds as many frames as are wanted."""
        return frames is not None and self._frames >= frames

    def take(self, read: Read | Refused, position: int, damage: Literal["raise", "skip"]) -> None:
        """Commit one episode of the source, the one at `position` of its list, or refuse it."""
        done, self._done = self._done, 0
        if isinstance(read, Refused):
            self._refuse(read, damage)
            return
        episodes = read.converted.episodes
        if not episodes:
            self.empty.append(read.name)
            self.why += [f"{read.name}: {note}" for note in read.converted.notes]
            return
        try:
            self._commit(read, episodes, position, done)
        except StoreError:
            raise
        except ValueError as error:
            what = f"episode {read.name!r} does not fit the ones before: {error}"
            remedy = "give --size, or import what differs into a store of its own"
            self._refuse(Refused(read.name, str(self._path), what, remedy), damage)

    def _commit(self, read: Read, episodes: Sequence[Episode], position: int, done: int) -> None:
        if self.writer is None:
            self.writer = StoreWriter(self._path, self._about(episodes[0]))
            self._remark(*self.refused)
        elif not self._suits:
            there = self.writer.manifest
            there = replace(there, settings={**self._usual, **there.settings})
            refuse_other(self._path, there, self._about(episodes[0]))
        self._suits = True
        n = len(episodes)
        share = self.writer.manifest.validation_share
        split = read.split or split_of(position, share)
        notes = [read.converted.notes, *[()] * (n - 1)]
        self.writer.append(
            episodes[done:], [read.seed] * (n - done), [split] * (n - done), [read.name] * (n - done), notes[done:]
        )
        self._frames += sum(len(episode.frames) for episode in episodes[done:])

    def _refuse(self, refused: Refused, damage: Literal["raise", "skip"]) -> None:
        if damage == "raise":
            options = "--damage skip --resume" if self.writer is not None else "--damage skip"
            raise SourceError(refused.path, refused.what, f"{refused.remedy} (or leave such episodes out: {options})")
        self.refused.append(refused)
        self.why.append(f"{refused.name}: {refused.what}")
        self._remark(refused)

    def _remark(self, *refused: Refused) -> None:
        if self.writer is not None:
            for one in refused:
                self.writer.remark(f"{one.name} was left out: {one.path}: {one.what}")

    def _resume(self, writer: StoreWriter) -> None:
        """Go on with the last episode of the source that left something: a commit may have been cut in its middle."""
        self.writer = writer
        if not writer.episodes:
            return
        last = writer.episodes[-1].name
        self._frames = sum(record.frames for record in writer.episodes)
        try:
            self.first = self._names.index(last)
        except ValueError:
            writer.close()
            what = f"it holds an episode {last!r} that is not to be read now"
            raise StoreError(self._path, what, "use another folder, or no --limit") from None
        self._done = Counter(record.name for record in writer.episodes)[last]


def _manifest(reader: Reader, validation_share: float, command: str, episode: Episode) -> StoreManifest:
    """Describe the store whose first episode this is."""
    source = reader.opened
    columns = {"frames": episode.frames, "actions": episode.actions}
    columns |= {} if episode.rewards is None else {"rewards": episode.rewards}
    columns |= {} if episode.state is None else {"state": episode.state}
    columns |= {f"extras.{name}": extra for name, extra in episode.extras.items()}
    return StoreManifest(
        actions=reader.convert.actions,
        columns=tuple(StoreColumn.like(name, column) for name, column in columns.items()),
        fps=reader.convert.fps,
        state_names=source.state_names,
        game=source.game,
        source=source.origin,
        licence=source.licence,
        command=command,
        settings=settings_of(reader.source, reader.conversion),
        validation_share=validation_share,
    )


def usual_settings(source: SourceConfig, conversion: ConversionConfig) -> dict[str, Setting]:
    """Return the settings of which every option is as it is where nobody names it."""
    return settings_of(_usual(source), _usual(conversion))


def _usual(config: C) -> C:
    needed = [f.name for f in fields(config) if f.default is MISSING and f.default_factory is MISSING]
    return type(config)(**{name: getattr(config, name) for name in needed})


def settings_of(source: SourceConfig, conversion: ConversionConfig) -> dict[str, Setting]:
    """Return what must be the same to go on with a store."""
    return {**_flat(source, "source."), **_flat(conversion, "")}


def _flat(config: Config, prefix: str) -> dict[str, Setting]:
    """Return a config as settings of a manifest: scalars, and JSON for the rest."""
    plain: dict[str, Any] = config.to_json()
    return {
        f"{prefix}{key}": value
        if isinstance(value, int | float | str) and not isinstance(value, bool)
        else json.dumps(value)
        for key, value in plain.items()
    }
