"""The report's tables: which metrics lead, what each means in words, and what value is good."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hallucade.evaluation.game_check.rules import RULES

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Headline:
    """A metric that leads the report; a target is a bound on either side, or none."""

    key: str
    label: str
    meaning: str
    form: str = "{:.2f}"
    least: float | None = None
    most: float | None = None
    target: str = ""
    instead: tuple[str, float] | None = None  # another metric, and the least value of it that meets the target too

    def met(self, metrics: Metrics) -> bool | None:
        """Say whether the target is met, None without one."""
        value = metrics[self.key]
        if self.least is None and self.most is None:
            return None
        if self.instead is not None and metrics.get(self.instead[0], -math.inf) >= self.instead[1]:
            return True
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


HEADLINES = (
    Headline(
        "pong/paddle_error_worst_px@64",
        "Player's paddle, mean error at its worst frame to 64",
        "The keys alone decide where this paddle is, so a dream has no excuse; half a pixel is hard to see.",
        "{:.2f} px",
        most=0.5,
        target="at most 0.5 px",
    ),
    Headline(
        "pong/ball_error_px@8",
        "Ball, median error at frame 8",
        "Two pixels are one ball: in half of the games the dreamed ball still overlaps the true one.",
        "{:.2f} px",
        most=2,
        target="at most 2 px",
    ),
    Headline(
        "pong/valid_horizon",
        "Valid horizon",
        "Frames for which nine balls in ten stay within one ball of the truth. After that it is still a game, only "
        "not the same one.",
        "{:.0f} frames",
        least=32,
        target="at least 32 frames, or 80% of the observer's",
        instead=("pong/valid_horizon_share", 0.8),
    ),
    Headline(
        "pong/valid_horizon_observer",
        "The perfect observer's",
        "The same for one who measures the prompt's pixels and then computes the true physics: what could be known.",
        "{:.0f} frames",
    ),
    Headline(
        "pong/one_ball_share@256",
        "Exactly one ball, frames to 256",
        "Balls that fade, double or vanish are how such dreams usually fail.",
        "{:.1%}",
        least=0.9,
        target="at least 90%",
    ),
    Headline(
        "pong/one_ball_share@1000",
        "Exactly one ball, 1,000 frames of play",
        "The same while a bot plays the dream and sees nothing else: half a minute without a look at the truth.",
        "{:.1%}",
        least=0.99,
        target="at least 99%",
    ),
    Headline(
        "pong/survival@1000",
        "Games alive after 1,000 frames",
        "Intact in every part of the game and not only at its end.",
        "{:.0%}",
    ),
    Headline(
        "long/one_ball_share_worst",
        "Exactly one ball, worst of ten segments",
        "Of a thousand frames under the keys of a true game, the hundred in which the dream was least of a game.",
        "{:.1%}",
        least=0.9,
        target="at least 90%",
    ),
    Headline(
        "long/contrast_ratio_worst",
        "Contrast, worst segment",
        "Over that of real play. A dream that fades or glares leaves 1, in the middle or at the end.",
        "{:.2f}",
        least=0.9,
        most=1.1,
        target="0.9 to 1.1",
    ),
    Headline(
        "long/ssim@1000",
        "SSIM at frame 1,000",
        "Beside one true game under the same keys; serves are drawn by chance, so compare it with the next line.",
    ),
    Headline(
        "long/luck_ssim@1000",
        "The true game's, with other serves",
        "What a perfect dream would reach: the game itself, under the same keys, had chance drawn otherwise.",
    ),
    Headline(
        "tokens/unique_codes_ratio@100",
        "Different codes in a frame, after 100",
        "Over those of real play. A dream that loses its codes loses its pictures.",
        "{:.0%}",
        least=0.8,
        target="at least 80%",
    ),
    Headline(
        "pong/response_direction",
        "Paddle moves the right way",
        "Share of held keys after which it went where the key points.",
        "{:.0%}",
        least=1,
        target="100%",
    ),
    Headline(
        "pong/response_gain",
        "Paddle gain",
        "Dreamed way over true way; 1 is the true speed.",
        "{:.3f}",
        least=0.95,
        most=1.05,
        target="0.95 to 1.05",
    ),
    Headline(
        "pong/response_lag",
        "Paddle lag",
        "Frames by which the dream answers later than the true game.",
        "{:.0f} frames",
        least=0,
        most=0,
        target="0",
    ),
    Headline(
        "pong/action_swap_ratio",
        "Harm done by swapped actions",
        "Paddle error under another game's actions over that under the right ones; 1 means that nobody listens.",
        "{:.1f} times",
        least=1.5,
        target="well above 1",
    ),
    Headline(
        "control/f1_macro_share",
        "Actions that can be read off the dream",
        "F1 of an inverse dynamics model on the dream, over that on real frames of the same clips: the ceiling.",
        "{:.0%}",
        least=0.85,
        target="at least 85% of the ceiling",
    ),
    Headline(
        "control/f1_macro_real",
        "The ceiling",
        "F1 of the same model on real frames, mean over buttons and options.",
    ),
    Headline(
        "control/bin_error",
        "Axes, bins beside what was held",
        "Read off the dream by the same model; compare it with the next line, that of real frames.",
    ),
    Headline(
        "control/bin_error_real",
        "The same of real frames",
        "The ceiling of axes.",
    ),
    Headline(
        "clips/flow_angle_rmse",
        "Motion beside what the keys ask for",
        "Angle between measured optical flow and that of a camera which obeys; chance is about 100°.",
        "{:.0f}°",
    ),
    Headline(
        "clips/flow_angle_rmse_real",
        "Real play's",
        "The same of the recorded clips: distances, walls and inertia, which the camera model does not know.",
        "{:.0f}°",
    ),
    Headline(
        "pong/violations_per_1000/any",
        "Frames that break a rule, of 1,000",
        "Laws of the game that need no truth beside it.",
        "{:.1f}",
    ),
    Headline(
        "pong/frames_to_violation",
        "Frames to the first broken rule",
        "Median; the number of frames dreamed, if half of the games break none.",
        "{:.0f}",
    ),
)
WHO = {"": "dream", "observer_": "observer", "copy_last_": "last frame"}
ERRORS = {
    "paddle_error_px": "Player's paddle, mean",
    "opponent_error_px": "Opponent's paddle, mean",
    "ball_error_px": "Ball, median",
    "ball_error_p90_px": "Ball, 90th percentile",
}
PICTURES = {
    "psnr": "PSNR, dB",
    "psnr_moving": "PSNR of what moves, dB",
    "ssim": "SSIM",
    "ssim_moving": "SSIM of what moves",
    "lpips": "LPIPS, 0 is the same",
}
DISTANCES = {  # of the Fréchet distance: its label, the kernel distance beside it, that one's label
    "frechet_encoder": ("Fréchet distance on a pre-trained encoder (not FVD)", "mmd_encoder", "Kernel distance on it"),
    "frechet_lite0": ("Fréchet distance on EfficientNet-lite0 (not FID)", "mmd_lite0", "Kernel distance on the same"),
    "fid": ("FID", "kid", "KID"),
    "fvd": ("FVD", "kvd", "KVD"),
}


def headline_table(metrics: Metrics) -> str:
    """Return the leading metrics with their targets and meaning."""
    rows = list[str]()
    for line in HEADLINES:
        if line.key not in metrics:
            continue
        value = metrics[line.key]
        met = line.met(metrics)
        mark = "" if met is None else f'<b class="{"good" if met else "bad"}">{"met" if met else "missed"}</b>'
        rows.append(
            f"<tr><td>{escape(line.label)}<small>{escape(line.meaning)}</small></td>"
            f'<td class="n">{escape(line.form.format(value))}</td><td class="n">{escape(line.target)} {mark}</td></tr>'
        )
    return _table(("What", "Measured", "Target"), rows)


def error_table(metrics: Metrics) -> str:
    """Return state errors over the horizon: the dream between its two yardsticks."""
    horizons = _horizons(metrics, "pong/paddle_error_px")
    rows = list[str]()
    for name, label in ERRORS.items() if horizons else ():
        for prefix, who in WHO.items():
            values = [metrics.get(f"pong/{prefix}{name}@{h}") for h in horizons]
            rows.append(_row(f"{label}, {who}" if prefix else f"<b>{label}, {who}</b>", values, "{:.2f}"))
    return _table(("Error, pixels of 24, at frame", *map(str, horizons)), rows)


def rule_table(metrics: Metrics) -> str:
    """Return how often each rule is broken, beside the tracker's own mistakes on real frames."""
    rows = [
        _row(meaning, [metrics.get(f"pong/{who}violations_per_1000/{rule}") for who in ("", "real_")], "{:.1f}")
        for rule, meaning in RULES.items()
        if f"pong/violations_per_1000/{rule}" in metrics
    ]
    return _table(("Frames of 1,000 that break it", "dream", "real frames"), rows)


def picture_table(metrics: Metrics, check: str) -> str:
    """Return PSNR and SSIM over the horizon, of the check "pong" or "clips"."""
    horizons = _horizons(metrics, f"{check}/psnr")
    rows = [
        _row(label, [metrics.get(f"{check}/{name}@{h}") for h in horizons], "{:.1f}" if "psnr" in name else "{:.3f}")
        for name, label in PICTURES.items()
        if any(f"{check}/{name}@{h}" in metrics for h in horizons)
    ]
    return _table(("Likeness at frame", *map(str, horizons)), rows)


def distance_table(metrics: Metrics, check: str) -> str:
    """Return how far all dreamed pictures are from all real ones, with what tells whether that is far."""
    rows = list[str]()
    for name, (label, kernel, kernel_label) in DISTANCES.items():
        for until in _horizons(metrics, f"{check}/{name}"):
            samples = metrics.get(f"{check}/{name}_samples@{until}")
            floor = metrics.get(f"{check}/{name}_floor@{until}")
            error = metrics.get(f"{check}/{kernel}_error@{until}")
            about = f"frames 1 to {until}, {samples:.0f} samples" if samples is not None else f"frames 1 to {until}"
            between = "" if floor is None else f"{floor:.4g} between real clips"
            rows.append(_described(label, about, metrics[f"{check}/{name}@{until}"], between))
            if (value := metrics.get(f"{check}/{kernel}@{until}")) is not None:
                rows.append(_described(kernel_label, about, value, "" if error is None else f"± {error:.2g}"))
    return _table(("Distance of dream and truth", "Measured", "Beside it"), rows)


def full_table(metrics: Metrics) -> str:
    """Return every metric by name."""
    return _table(("Metric", "Value"), [_row(f"<code>{escape(k)}</code>", [v], "{:.6g}") for k, v in metrics.items()])


def _horizons(metrics: Metrics, name: str) -> list[int]:
    found = (re.fullmatch(re.escape(name) + r"@(\d+)", key) for key in metrics)
    return sorted(int(match[1]) for match in found if match)


def _row(label: str, values: Sequence[float | None], form: str) -> str:
    cells = "".join(f'<td class="n">{"–" if v is None else form.format(v)}</td>' for v in values)
    return f"<tr><td>{label}</td>{cells}</tr>"


def _described(label: str, about: str, value: float, beside: str) -> str:
    cells = f'<td class="n">{value:.4g}</td><td class="n">{escape(beside)}</td>'
    return f"<tr><td>{escape(label)}<small>{escape(about)}</small></td>{cells}</tr>"


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table, or nothing where there are no rows."""
    if not rows:
        return ""
    first, *others = heads
    head = f"<th>{escape(first)}</th>" + "".join(f'<th class="n">{escape(h)}</th>' for h in others)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
