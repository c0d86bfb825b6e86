"""An ablation as Markdown: the table, what is significant, and what did not come to its end."""

from collections.abc import Sequence

from hallucade.recipes.ablation.results import Results
from hallucade.recipes.ablation.statement import budget, method, of_metric, remarks
from hallucade.recipes.ablation.table import Cell, heads, rows


def markdown(results: Results, metrics: Sequence[str], title: str) -> str:
    """Return the whole page."""
    parts = [f"# {title}", budget(results), table(results, metrics), "## What is significant", method(results)]
    if len(results.arms) > 1 and metrics:
        parts.append(_list([f"**{metric}** {of_metric(results, metric)}" for metric in metrics]))
    if noted := remarks(results):
        parts += ["## Read with care", _list(noted)]
    return "\n\n".join(parts) + "\n"


def table(results: Results, metrics: Sequence[str]) -> str:
    """Return the arms as rows, the best mean of a metric in bold."""
    names = heads(results, metrics)
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(cell) for cell in row] for row in rows(results, metrics)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    text = cell.text.replace("|", "&#124;")
    return f"**{text}**" if cell.best else text


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
