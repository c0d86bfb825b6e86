"""An ablation as one page that is complete in itself: the table, what is significant, and plots."""

from collections.abc import Sequence
from html import escape
from statistics import fmean

from hallucade.evaluation.line_chart import line_chart
from hallucade.evaluation.page import figure, page
from hallucade.evaluation.result import Curve, Plot
from hallucade.recipes.ablation.columns import direction, goal_of
from hallucade.recipes.ablation.interval_chart import Row, interval_chart
from hallucade.recipes.ablation.results import ArmResult, Results
from hallucade.recipes.ablation.statement import budget, method, of_metric, remarks
from hallucade.recipes.ablation.table import Cell, heads, rows

FEWEST = 3  # horizons that make a curve


def html(results: Results, metrics: Sequence[str], title: str) -> str:
    """Return the whole page."""
    tested = [f"<b>{escape(metric)}</b> {escape(of_metric(results, metric))}" for metric in metrics]
    significant = f"<p>{escape(method(results).replace('**', ''))}</p>"
    families = dict.fromkeys(metric.partition("@")[0] for metric in metrics if "@" in metric)
    intervals = "".join(_intervals(results, metric) for metric in metrics)
    curves = "".join(_over_frames(results, family) for family in families)
    sections = (
        ("", f"<p>{escape(budget(results))}</p>{_table(results, metrics)}"),
        ("What is significant", significant + _list(tested if len(results.arms) > 1 else [])),
        ("Seeds, means and 95 % intervals; means over the frames", _plots(intervals + curves)),
        ("Read with care", _list([escape(line) for line in remarks(results)])),
    )
    return page(title, title, {}, sections)


def _table(results: Results, metrics: Sequence[str]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in heads(results, metrics))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows(results, metrics))
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"<td>{f'<b>{text}</b>' if cell.best else text}</td>"


def _intervals(results: Results, metric: str) -> str:
    shown = [(each, mean) for each in results.arms if (mean := each.mean(metric)) is not None]
    chart_rows = tuple(Row(each.arm.label, tuple(each.values(metric).values()), mean) for each, mean in shown)
    return figure(metric, direction(metric), interval_chart(metric, chart_rows, goal_of(metric))) if chart_rows else ""


def _over_frames(results: Results, family: str) -> str:
    """Draw means over seeds at every horizon that was measured, a curve an arm."""
    measured = {name for name in results.measured if name.partition("@")[0] == family}
    horizons = sorted(int(name.partition("@")[2]) for name in measured)
    if len(horizons) < FEWEST:
        return ""
    curves = tuple(_curve(each, family, horizons) for each in results.arms)
    plot = Plot(family, "frames dreamed", family.partition("/")[2], curves, "Means over seeds.")
    return figure(plot.title, plot.caption, line_chart(plot))


def _curve(result: ArmResult, family: str, horizons: Sequence[int]) -> Curve:
    found = {h: list(result.values(f"{family}@{h}").values()) for h in horizons}
    known = {float(h): fmean(values) for h, values in found.items() if values}
    return Curve(result.arm.label, tuple(known), tuple(known.values()))


def _plots(figures: str) -> str:
    return f'<div class="plots">{figures}</div>' if figures else ""


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""
