"""The same moments side by side: one game a column, real and dreamed in rows, and the keys that both obeyed."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.actions import ActionSpace
from hallucade.data.pictures import PAPER, enlarge, overlay_keys, stack_rows
from hallucade.shapes import FrameArray

COLUMN = 168  # pixels; about the width of one enlarged game
GAP = 6  # pixels between games


def comparison_video(
    rows: Mapping[str, UInt8[np.ndarray, "g t h w 3"]], actions: ActionSpace, held: Float32[np.ndarray, "g n c"]
) -> UInt8[np.ndarray, "t sh sw 3"]:
    """Compose a video of t frames; the keys stand under the last row.

    Args:
        rows: name to frames, all of one size; real frames first.
        actions: names what was held.
        held: n = t or t - 1 raw action rows a game; row i was held while frame i was on screen.
    """
    scale = max(COLUMN // next(iter(rows.values())).shape[3], 1)
    *upper, last = rows
    parts = {name: _abreast([enlarge(game, scale) for game in rows[name]]) for name in upper}
    keyed = [overlay_keys(game, actions, h, scale) for game, h in zip(rows[last], held, strict=True)]
    return stack_rows({**parts, last: _abreast(keyed)})


def _abreast(games: list[np.ndarray]) -> FrameArray:
    """Join videos from left to right."""
    t, h, _, _ = games[0].shape
    gap = np.broadcast_to(np.array(PAPER, np.uint8), (t, h, GAP, 3))
    parts = [part for game in games for part in (game, gap)][:-1]
    return np.ascontiguousarray(np.concatenate(parts, 2))
