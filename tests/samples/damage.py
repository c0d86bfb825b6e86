"""Ways in which foreign files break, and what reading them must come to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hallucade.data.conversion import ConversionConfig
from hallucade.data.source import SourceConfig, SourceError


def refusals(config: SourceConfig) -> list[SourceError]:
    """Read and decode every episode; return the refusals, and let every other error through."""
    found: list[SourceError] = []
    try:
        source = config.build()
        names = list(source.episodes)
    except SourceError as error:
        return [error]
    for name in names:
        try:
            foreign = source.read(name)
            frames = list(foreign.frames())
            assert len({frame.shape for frame in frames}) == 1
            source.actions.validate(foreign.actions)
        except SourceError as error:
            found.append(error)
    return found


def cuts(file: Path, count: int, rng: np.random.Generator) -> Iterator[int]:
    """Cut a file at `count` places, yield each, and leave it whole."""
    whole = file.read_bytes()
    for length in sorted(rng.integers(0, len(whole), count).tolist()):
        file.write_bytes(whole[:length])
        yield length
    file.write_bytes(whole)


def edited(file: Path, edit: Callable[[str], str]) -> None:
    """Rewrite a text file."""
    changed = edit(text := file.read_text())
    assert changed != text
    file.write_text(changed)


KEEP_ALL = ConversionConfig(menus="keep")


def misfit(frames: np.ndarray, truth: np.ndarray) -> float:
    """Mean difference in grey levels, which must be least where the frames stand; asserts that it is."""
    errors = [np.abs(frames.astype(int) - np.roll(truth, shift, 0)).mean() for shift in (-1, 0, 1)]
    assert errors[1] < min(errors[0], errors[2])
    return float(errors[1])
