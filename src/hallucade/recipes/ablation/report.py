"""Writes an ablation down: ablation.md for people, ablation.json for machines, ablation.html with plots."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hallucade.evaluation.page import write_whole
from hallucade.recipes.ablation.ablation import Ablation
from hallucade.recipes.ablation.columns import chosen_metrics
from hallucade.recipes.ablation.html import html
from hallucade.recipes.ablation.markdown import markdown
from hallucade.recipes.ablation.results import ArmResult, Finding, Results

MARKDOWN_FILE, JSON_FILE, HTML_FILE = "ablation.md", "ablation.json", "ablation.html"


def write_ablation(ablation: Ablation, patterns: Sequence[str] = ()) -> Path:
    """Write what the runs show so far.

    Args:
        ablation: whose runs are read from its folder.
        patterns: metrics to show, see `chosen_metrics`.

    Returns:
        The path of the Markdown.

    Raises:
        ValueError: a pattern fits no metric.
    """
    results = Results.of(ablation)
    metrics = chosen_metrics(patterns, results.measured) if results.measured else []
    ablation.out.mkdir(parents=True, exist_ok=True)
    title = f"Ablation of {ablation.config.recipe.recipe}"
    write_whole(ablation.out / JSON_FILE, json.dumps(as_json(ablation, results), indent=2) + "\n")
    write_whole(ablation.out / MARKDOWN_FILE, markdown(results, metrics, title))
    write_whole(ablation.out / HTML_FILE, html(results, metrics, title))
    return ablation.out / MARKDOWN_FILE


def as_json(ablation: Ablation, results: Results) -> dict[str, Any]:
    """Return everything that was measured, and every test."""
    return {
        "config": ablation.config.to_json(),
        "baseline": dict(results.baseline.settings),
        "arms": [_arm(each, results) for each in results.arms],
        "refused": [{"settings": dict(each.settings), "reason": each.reason} for each in results.refused],
        "findings": {
            metric: [_finding(each) for each in results.findings(metric)] for metric in sorted(results.measured)
        },
    }


def _arm(result: ArmResult, results: Results) -> dict[str, Any]:
    runs = {
        str(seed): None
        if record is None
        else {
            "state": record.state,
            "reason": record.reason,
            "commit": record.commit,
            "seconds": record.seconds,
            "metrics": record.metrics,
        }
        for seed, record in result.records.items()
    }
    means = {metric: asdict(mean) for metric in sorted(results.measured) if (mean := result.mean(metric))}
    return {"settings": dict(result.arm.settings), "cost": result.cost.to_json(), "means": means, "runs": runs}


def _finding(found: Finding) -> dict[str, Any]:
    tested = None if found.difference is None else asdict(found.difference)
    return {"settings": dict(found.arm.settings), "verdict": found.verdict, "p_holm": found.p, "badness": tested}
