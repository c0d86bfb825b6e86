"""Where a Doom map lets players start: the deathmatch places, read from the map's file.

Format: WAD, a directory of named lumps; a map is its marker lump and the THINGS after it, 10 bytes each (x, y, angle,
kind, flags). Source: the Unofficial Doom Specs 1.666, chapters 2 and 4.
"""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64

DEATHMATCH_START = 11  # kind of thing


def deathmatch_starts(wad: Path, name: str) -> Int64[np.ndarray, "n 2"]:
    """Return x, y in map units of every deathmatch start of a map.

    Raises:
        ValueError: the file is no WAD, or has no such map, or the map has no such places.
    """
    data = wad.read_bytes()
    if data[:4] not in (b"IWAD", b"PWAD"):
        raise ValueError(f"{wad} is no WAD file; give one with Doom maps")
    lumps = _lumps(data)
    names = [lump for lump, _, _ in lumps]
    marker = names.index(name.upper()) if name.upper() in names else None
    if marker is None or names[marker + 1 : marker + 2] != ["THINGS"]:
        maps = [a for a, b in pairwise(names) if b == "THINGS"]
        raise ValueError(f"{wad.name} has no map {name!r} in Doom's format; it has {', '.join(maps) or 'none'}")
    _, offset, size = lumps[marker + 1]
    things = np.frombuffer(data, "<i2", size // 10 * 5, offset).reshape(-1, 5)
    starts = things[things[:, 3] == DEATHMATCH_START, :2].astype(np.int64)
    if len(starts) == 0:
        raise ValueError(f"map {name!r} of {wad.name} has no deathmatch starts; use starts='map'")
    return starts


def _lumps(data: bytes) -> list[tuple[str, int, int]]:
    """Return name, offset and size of every lump."""
    count, directory = struct.unpack_from("<ii", data, 4)
    entries = (struct.unpack_from("<ii8s", data, directory + 16 * i) for i in range(count))
    return [(name.rstrip(b"\0").decode("latin-1"), offset, size) for offset, size, name in entries]
