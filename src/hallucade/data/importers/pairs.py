"""Videos with one file of actions each; downloads of thousands of them are seldom complete."""

from collections.abc import Sequence
from pathlib import Path

from hallucade.data.importers.file_tree import files_below
from hallucade.data.source import SourceError


def paired_files(videos: Path, actions: Path, suffix: str) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Pair every ``.mp4`` below one folder with the file of the same path below another.

    Args:
        videos: a folder, searched to any depth.
        actions: the folder, or another of the same shape.
        suffix: of the files of actions, with its dot.

    Returns:
        The pairs (video, actions) by path without suffix, sorted; and the names of which only one file is there.
    Raises:
        SourceError: a folder is missing.
    """
    for folder in (videos, actions):
        if not folder.is_dir():
            raise SourceError(folder, "there is no such folder", "check the path")
    films = {str(file.relative_to(videos).with_suffix("")): file for file in files_below(videos, ".mp4")}
    tables = {str(file.relative_to(actions).with_suffix("")): file for file in files_below(actions, suffix)}
    both = sorted(films.keys() & tables.keys())
    return {name: (films[name], tables[name]) for name in both}, sorted(films.keys() ^ tables.keys())


def left_out(names: Sequence[str], first: bool) -> tuple[str, ...]:
    """Return the note on incomplete recordings; the first episode bears it, as it concerns none of those that are read.

    Args:
        names: of which only one file is there.
        first: whether the note is for the first episode.
    """
    if not names or not first:
        return ()
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (f"left out, as only the video or only the actions are there: {', '.join(names[:3])}{more}",)
