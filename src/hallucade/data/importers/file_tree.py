"""The files below a folder, also where parts of it are links to other disks, as large data sets often are."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(root: Path, ending: str = "") -> list[Path]:
    """Return every file below a folder whose name ends so, sorted; linked folders are entered, loops are not.

    A link that leads nowhere is among them: whoever reads it says that the file is not there.
    """
    return sorted(file for file in _files(root, ()) if file.name.endswith(ending)) if root.is_dir() else []


def _files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    found = os.stat(folder)
    here = (found.st_dev, found.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path), (*above, here))
            else:
                yield Path(entry.path)
