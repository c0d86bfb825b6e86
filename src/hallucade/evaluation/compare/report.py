"""Writes a comparison down: compare.json for machines, compare.html for people, both complete in themselves."""

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from hallucade.evaluation.compare.check import REAL, Comparison
from hallucade.evaluation.compare.figures import Figure
from hallucade.evaluation.compare.over_seeds import OverSeeds
from hallucade.evaluation.page import figure, page, pairs, picture, video, write_whole

COMPARE_FILE, PAGE_FILE = "compare.json", "compare.html"
PER_RUN = "<p>In brackets 95 % intervals over clips; an asterisk where that of a difference does not hold 0.</p>"
OVER_SEEDS = (
    "<p>Runs that differ in the seed of their training alone are one column: their mean, and half its 95 % interval by "
    "Student's t. Differences are between runs that share a seed (by Welch's test where fewer than two do), with an "
    "asterisk where the interval does not hold 0; nothing is corrected for the number of metrics.</p>"
)


def write_comparison(
    folder: str | os.PathLike[str],
    comparison: Comparison,
    about: Mapping[str, Mapping[str, object]],
    over_seeds: OverSeeds | None = None,
) -> Path:
    """Write ``compare.json`` and ``compare.html`` (no content from elsewhere) into `folder`; return the page's path.

    Args:
        folder: made if it is missing.
        comparison: what was found.
        about: what is known of each run, by name.
        over_seeds: which runs differ in their seed alone.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    write_whole(
        path / COMPARE_FILE, json.dumps(as_json(comparison, about, over_seeds), indent=2, allow_nan=False) + "\n"
    )
    write_whole(path / PAGE_FILE, as_html(comparison, about, over_seeds))
    return path / PAGE_FILE


def as_json(
    comparison: Comparison, about: Mapping[str, Mapping[str, object]], over_seeds: OverSeeds | None = None
) -> dict[str, object]:
    """Return everything as plain values: figures with the ends of their intervals, and differences from the first run.

    What is not defined is absent.
    """
    scores = {
        name: {metric: _plain(each) for metric, each in found.items()} for name, found in comparison.scores.items()
    }
    differences = {
        run: {m: _plain(each) for m in comparison.metrics if (each := comparison.difference(run, m)) is not None}
        for run in comparison.runs[1:]
    }
    return {
        "runs": {name: {key: str(value) for key, value in facts.items()} for name, facts in about.items()},
        "scores": scores,
        "reference": comparison.runs[0],
        "differences": differences,
        "over_seeds": {} if over_seeds is None else over_seeds.as_json(),
        "protocol": dict(comparison.protocol),
    }


def as_html(
    comparison: Comparison, about: Mapping[str, Mapping[str, object]], over_seeds: OverSeeds | None = None
) -> str:
    """Return the whole page."""
    runs = "".join(
        f"<details><summary>{escape(name)}</summary>{pairs(facts)}</details>" for name, facts in about.items()
    )
    shown = comparison.video
    stills = "".join(
        figure(f"{s.title}.", f"{s.section}. {s.caption}", picture(s.pixels, s.title)) for s in comparison.stills
    )
    sections = (
        *_over_seeds(over_seeds),
        ("Runs beside each other", _table(table_rows(comparison)) + PER_RUN),
        ("See for yourself", figure(shown.title, shown.caption, video(shown.frames, shown.fps)) + stills),
        ("How it was measured", pairs(comparison.protocol)),
        ("Runs", runs),
    )
    return page("Comparison", f"{' and '.join(comparison.runs)}", {}, sections)


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the table as text, its head first: a run a column, then how others differ from the first.

    A difference whose interval does not hold 0 is marked with an asterisk.
    """
    runs, first = comparison.runs, comparison.runs[0]
    ceilings = comparison.scores.get(REAL, {})
    head = ("metric", *((REAL,) if ceilings else ()), *runs, *(f"{run} less {first}" for run in runs[1:]))
    rows: list[tuple[str, ...]] = [head]
    for metric in comparison.metrics:
        real = (_said(ceilings.get(metric)),) if ceilings else ()
        own = (_said(comparison.scores[run].get(metric)) for run in runs)
        less = (_said(comparison.difference(run, metric), signed=True) for run in runs[1:])
        rows.append((metric, *real, *own, *less))
    return rows


def _over_seeds(found: OverSeeds | None) -> Sequence[tuple[str, str]]:
    return () if found is None or not found.repeated else (("Over seeds", _table(found.rows()) + OVER_SEEDS),)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    top = _cells(rows[0], "th")
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows[1:])
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str], tag: str) -> str:
    first, *others = row
    return f"<{tag}>{escape(first)}</{tag}>" + "".join(f'<{tag} class="n">{escape(text)}</{tag}>' for text in others)


def _said(found: Figure | None, signed: bool = False) -> str:
    if found is None:
        return "–"
    ends = found.interval
    value = f"{found.value:+.3g}" if signed else f"{found.value:.4g}"
    if ends is None:
        return value
    mark = " *" if signed and not ends[0] <= 0 <= ends[1] else ""
    return f"{value} [{ends[0]:.3g}, {ends[1]:.3g}]{mark}"


def _plain(found: Figure) -> dict[str, float]:
    ends = found.interval
    return {"value": found.value} | ({} if ends is None else {"low": ends[0], "high": ends[1]})
