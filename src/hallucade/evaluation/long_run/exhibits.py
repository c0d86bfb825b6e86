"""The curves of a long run, and a picture of its moments."""

import numpy as np
from jaxtyping import UInt8

from hallucade.data.pictures import enlarge, stack_rows
from hallucade.evaluation.long_run.game_curves import GameCurves, Span, log_spans, segments
from hallucade.evaluation.long_run.pong_reader import COPIED_PADDLE, ONE_BALL, PADDLE
from hallucade.evaluation.long_run.readings import AGAINST, STATISTICS
from hallucade.evaluation.result import Curve, Plot, Still

FRAMES_AFTER = "frames dreamed"
SECTIONS = {"long": "A long run", "episodes": "A long run over recorded episodes"}
MOMENTS = 12  # of the picture
WIDTH = 72  # pixels of one of them, at least half of them
DESCRIBED = {
    "brightness": "Mean of a picture over that of real play: a dream that fades or glows leaves 1.",
    "contrast": "Standard deviation within a picture over that of real play.",
    "sharpness": "Root mean square step from pixel to pixel over that of real play: blur lowers it, noise raises it.",
    "flicker": "By how much pixels change and change back at once, over that of real play: a boiling dream raises it.",
}


def long_plots(curves: GameCurves, frames: int, segment: int, prefix: str) -> tuple[Plot, ...]:
    """Draw everything that was read; bands are 95 % intervals over games."""
    section, growing = SECTIONS[prefix], log_spans(frames)
    plots = [
        _likeness(curves, name, label, growing, section)
        for name, label in (("ssim", "SSIM"), ("psnr", "PSNR, dB"))
        if name in curves
    ]
    if PADDLE in curves:
        plots += _pong(curves, growing, segments(frames, segment), section)
    for name in STATISTICS:
        if f"real_{name}" in curves:
            plots.append(_statistic(curves, name, segments(frames, segment), section))
    return tuple(plots)


def _likeness(curves: GameCurves, name: str, label: str, spans: list[Span], section: str) -> Plot:
    lines = [curves.curve(f"{who}{name}", said, spans) for who, said in AGAINST.items() if f"{who}{name}" in curves]
    if f"foreseeable_{name}" in curves:
        lines.append(curves.curve(f"foreseeable_{name}", "dream, before the first serve", spans))
    return Plot(
        f"Likeness to the true game, {label.split(',')[0]}",
        FRAMES_AFTER,
        label,
        tuple(lines),
        "Under the same keys. With other serves even the true game is unlike itself, and no perfect dream would be "
        "closer; another true game has in common what all games have.",
        log_x=True,
        section=section,
    )


def _pong(curves: GameCurves, growing: list[Span], even: list[Span], section: str) -> list[Plot]:
    return [
        Plot(
            "Player's paddle, on and on",
            FRAMES_AFTER,
            "error, pixels of 24",
            (curves.curve(PADDLE, "dream", growing), curves.curve(COPIED_PADDLE, "last real frame, kept", growing)),
            "Mean distance from the true paddle under the same keys, which alone decide where it is.",
            0.5,
            log=True,
            log_x=True,
            section=section,
        ),
        Plot(
            "Exactly one ball, segment by segment",
            FRAMES_AFTER,
            "share of frames",
            (curves.curve(ONE_BALL, "dream", even),),
            "Needs no truth beside it. The band is the score interval of as many games.",
            section=section,
        ),
    ]


def _statistic(curves: GameCurves, name: str, spans: list[Span], section: str) -> Plot:
    """Draw a statistic in multiples of its mean over all real play."""
    whole = curves.average(f"real_{name}", Span(1, spans[-1].last))
    unit = whole.value if whole is not None and whole.value > 0 else 1.0
    lines: tuple[Curve, ...] = (
        curves.curve(name, "dream", spans, unit),
        curves.curve(f"real_{name}", "real play", spans, unit),
    )
    return Plot(
        name.capitalize(), FRAMES_AFTER, "times that of real play", lines, DESCRIBED[name], 1.0, section=section
    )


class MomentSheet:
    """Keeps the few frames of a long run that are shown: truth above dream, at growing distances."""

    def __init__(self, games: int, frames: int) -> None:
        self._moments = sorted({round(float(t)) for t in np.geomspace(1, frames, MOMENTS)})  # counted from 1
        self._games = games
        self._kept: dict[str, list[np.ndarray]] = {"real": [], "dream": []}

    def add(self, dream: UInt8[np.ndarray, "g m h w 3"], real: UInt8[np.ndarray, "g m h w 3"], first: int) -> None:
        """Look at a chunk whose first frame is number `first`, counted from 0."""
        here = [t - 1 - first for t in self._moments if 0 <= t - 1 - first < dream.shape[1]]
        for name, frames in (("real", real), ("dream", dream)):
            self._kept[name].append(frames[: self._games, here].copy())

    def still(self, prefix: str) -> Still:
        """Return the picture; a row a game and a source."""
        rows = dict[str, np.ndarray]()
        for game in range(self._games):
            for name, parts in self._kept.items():
                rows[f"{name}, game {game + 1}"] = strip(np.concatenate(parts, 1)[game])
        moments = ", ".join(map(str, self._moments))
        return Still(
            "Moments of a long run", stack_rows(rows)[0], f"From left to right: frames {moments}.", SECTIONS[prefix]
        )


def strip(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "one sh sw 3"]:
    """Lay frames out in a row, a little apart."""
    scale = max(1, WIDTH // frames.shape[2])
    large = np.pad(enlarge(frames, scale), ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=40)
    return np.concatenate(list(large), 1)[None]
