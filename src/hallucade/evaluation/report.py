"""Writes an evaluation down: metrics.json for machines, report.html for people, both complete in themselves."""

import base64
import json
import math
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from hallucade.data.pictures import mp4_bytes
from hallucade.evaluation import report_tables as tables
from hallucade.evaluation.line_chart import line_chart
from hallucade.evaluation.result import Evaluation, Plot, Video

METRICS_FILE, REPORT_FILE = "metrics.json", "report.html"
PAGE = Path(__file__).with_name("report_page.html")  # styles, and the places of the two parts below


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
    _replace(path / METRICS_FILE, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    _replace(path / REPORT_FILE, report_html(metrics, evaluation, about))
    return path / REPORT_FILE


def report_html(metrics: Mapping[str, float], evaluation: Evaluation, about: Mapping[str, object]) -> str:
    """Return the whole page."""
    sections = (
        ("", tables.headline_table(metrics)),
        ("See for yourself", "".join(_video(video) for video in evaluation.videos)),
        ("Over the frames", f'<div class="plots">{"".join(_plot(plot) for plot in evaluation.plots)}</div>'),
        ("Errors of the game's state", tables.error_table(metrics)),
        ("Rules", tables.rule_table(metrics)),
        ("Likeness of the pictures", tables.picture_table(metrics, "pong") + tables.picture_table(metrics, "clips")),
        ("How it was measured", _pairs(evaluation.protocol)),
        ("All numbers", f"<details><summary>{len(metrics)} metrics</summary>{tables.full_table(metrics)}</details>"),
    )
    body = "".join(
        f"<section>{f'<h2>{title}</h2>' if title else ''}{html}</section>" for title, html in sections if html
    )
    return Template(PAGE.read_text(encoding="utf-8")).substitute(about=_pairs(about), body=body)


def _plot(plot: Plot) -> str:
    caption = f"<figcaption><b>{escape(plot.title)}</b> {escape(plot.caption)}</figcaption>"
    return f"<figure>{caption}{line_chart(plot)}</figure>"


def _video(video: Video) -> str:
    data = base64.b64encode(mp4_bytes(video.frames, video.fps)).decode("ascii")
    caption = f"<figcaption><b>{escape(video.title)}</b> {escape(video.caption)}</figcaption>"
    source = f'src="data:video/mp4;base64,{data}" width="{video.frames.shape[2]}"'
    return f"<figure>{caption}<video {source} autoplay loop muted playsinline controls></video></figure>"


def _pairs(values: Mapping[str, object]) -> str:
    rows = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in values.items())
    return f"<dl>{rows}</dl>" if rows else ""


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
