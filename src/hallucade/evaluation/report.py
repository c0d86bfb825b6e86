"""Writes an evaluation down: metrics.json for machines, report.html for people, both complete in themselves."""

import json
import math
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path

from hallucade.evaluation import report_tables as tables
from hallucade.evaluation.line_chart import line_chart
from hallucade.evaluation.page import figure, page, pairs, picture, video, write_whole
from hallucade.evaluation.result import Evaluation, Plot, Still, Video

METRICS_FILE, REPORT_FILE = "metrics.json", "report.html"


def write_report(folder: str | os.PathLike[str], evaluation: Evaluation, about: Mapping[str, object]) -> Path:
    """Write ``metrics.json`` (one flat object) and ``report.html`` (no content from elsewhere) into `folder`.

    A metric that is not finite is left out of both. Files are replaced whole, so that a reader never sees half of one.

    Args:
        folder: made if it is missing.
        evaluation: what was found.
        about: what was evaluated and how, by name: shown at the top of the report.

    Returns:
        The path of the report.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    metrics = {name: value for name, value in evaluation.metrics.items() if math.isfinite(value)}
    write_whole(path / METRICS_FILE, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    write_whole(path / REPORT_FILE, report_html(metrics, evaluation, about))
    return path / REPORT_FILE


def report_html(metrics: Mapping[str, float], evaluation: Evaluation, about: Mapping[str, object]) -> str:
    """Return the whole page."""
    sections = (
        ("", tables.headline_table(metrics)),
        ("See for yourself", "".join(_video(shown) for shown in evaluation.videos)),
        *_drawn_sections(evaluation),
        ("Errors of the game's state", tables.error_table(metrics)),
        ("Rules", tables.rule_table(metrics)),
        ("Likeness of the pictures", tables.picture_table(metrics, "pong") + tables.picture_table(metrics, "clips")),
        ("Likeness of all pictures together", tables.distance_table(metrics, "clips")),
        ("Read with care", "".join(f"<p>{escape(note)}</p>" for note in evaluation.notes)),
        ("How it was measured", pairs(evaluation.protocol)),
        ("All numbers", f"<details><summary>{len(metrics)} metrics</summary>{tables.full_table(metrics)}</details>"),
    )
    return page("Evaluation", "How good is the dream?", about, sections)


def _drawn_sections(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return plots and stills by their sections, in the order in which these first come."""
    named = dict.fromkeys(shown.section for shown in (*evaluation.plots, *evaluation.stills))
    sections = list[tuple[str, str]]()
    for name in named:
        plots = "".join(_plot(plot) for plot in evaluation.plots if plot.section == name)
        stills = "".join(_still(still) for still in evaluation.stills if still.section == name)
        sections.append((name, (f'<div class="plots">{plots}</div>' if plots else "") + stills))
    return sections


def _still(still: Still) -> str:
    return figure(still.title, still.caption, picture(still.pixels, still.title))


def _plot(plot: Plot) -> str:
    return figure(plot.title, plot.caption, line_chart(plot))


def _video(shown: Video) -> str:
    return figure(shown.title, shown.caption, video(shown.frames, shown.fps))
