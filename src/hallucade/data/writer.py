"""Appends episodes to a store; how that survives a kill or a full disk is `column_writer`'s."""

import os
from collections.abc import Sequence

import numpy as np

from hallucade.data.column_writer import ColumnWriter, EpisodeRows
from hallucade.data.episode import Episode
from hallucade.data.manifest import StoreColumn, StoreManifest, split_of


class StoreWriter(ColumnWriter[StoreManifest]):
    """The one writer of a store; a context manager.

    Args:
        path: a folder that is absent or empty to create a store, or an existing store to append to.
        manifest: of the store to create; None to append.
    Raises:
        StoreError: the folder is not empty, holds no store, or has another writer.
    """

    def __init__(self, path: str | os.PathLike[str], manifest: StoreManifest | None = None) -> None:
        super().__init__(path, StoreManifest, manifest)

    def append(
        self,
        episodes: Sequence[Episode],
        seeds: Sequence[int | None] | None = None,
        splits: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        notes: Sequence[tuple[str, ...]] | None = None,
    ) -> None:
        """Commit episodes in order: they are in the store when this returns.

        Args:
            episodes: all with the columns of the manifest.
            seeds: that the games were started from, one an episode.
            splits: "train" or "validation", one an episode; by default `split_of` decides.
            names: of the episodes in the source that they come from.
            notes: what an importer cut, clipped or repaired, of each episode.
        Raises:
            ValueError: an episode that does not fit the manifest; nothing of this call is in the store.
            StoreError: the disk is full or failing; the store holds the first ``len(writer)`` episodes, all whole.
        """
        rows = [episode_columns(episode, self.manifest) for episode in episodes]
        first, share = len(self.episodes), self.manifest.validation_share
        splits = splits if splits is not None else [split_of(first + i, share) for i in range(len(rows))]
        known_seeds = seeds if seeds is not None else [None] * len(rows)
        names = names if names is not None else [""] * len(rows)
        notes = notes if notes is not None else [()] * len(rows)
        facts = zip(rows, splits, known_seeds, names, notes, strict=True)
        self.write(
            [
                EpisodeRows(columns, len(columns["actions"]), split, seed, name, note)
                for columns, split, seed, name, note in facts
            ]
        )


def episode_columns(episode: Episode, manifest: StoreManifest) -> dict[str, np.ndarray]:
    """Return an episode's columns by name, as the bytes that a store keeps.

    Raises:
        ValueError: the episode is empty, or its columns or actions are not those of the manifest.
    """
    columns = {"frames": episode.frames, "actions": episode.actions}
    columns |= {} if episode.rewards is None else {"rewards": episode.rewards}
    columns |= {} if episode.state is None else {"state": episode.state}
    columns |= {f"extras.{name}": extra for name, extra in episode.extras.items()}
    if len(episode.actions) < 1:
        raise ValueError("the episode has no action; leave it out")
    have, want = sorted(columns), sorted(column.name for column in manifest.columns)
    if have != want:
        raise ValueError(f"the episode has columns {', '.join(have)}; the store keeps {', '.join(want)}")
    for name, data in columns.items():
        have, want = StoreColumn.like(name, data), manifest.column(name)
        if have != want:
            found, kept = (f"{' x '.join(map(str, c.shape)) or 1} {np.dtype(c.dtype).name}" for c in (have, want))
            raise ValueError(f"{name} has rows of {found}; the store keeps {kept}")
    manifest.actions.validate(episode.actions)
    return {name: np.ascontiguousarray(data, manifest.column(name).dtype) for name, data in columns.items()}
