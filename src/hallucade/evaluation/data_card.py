"""A store's data card: what is in it, how it looks, what was pressed, and what is wrong, on one page.

Source: Gebru et al. 2021, "Datasheets for datasets", arXiv:1803.09010, for what such a page should answer.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from hallucade.data.checks.problem import Problem
from hallucade.data.checks.summary import Summary, action_counts, spread
from hallucade.data.pictures import contact_sheet, overlay_keys
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.page import figure, page, picture, video, write_whole

SHEETS, SHEET_FRAMES, COLUMNS = 4, 16, 8  # episodes that are shown, and frames of each
SECONDS = 10  # of play that moves
WIDTH, CLIP_WIDTH = 112, 320  # pixels of a shown frame, at least
AXIS_BINS = 15
LENGTH_BINS = 12
COUNTED = 500  # episodes whose actions are counted
NOTES = 50  # that are shown


def write_card(path: Path, store: EpisodeStore, summary: Summary, problems: Sequence[Problem]) -> None:
    """Write the page, one file with everything inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, card_html(store, summary, problems))


def card_html(store: EpisodeStore, summary: Summary, problems: Sequence[Problem]) -> str:
    """Return the page.

    Args:
        store: with one episode or more.
        summary: of it.
        problems: that were found in it.
    """
    shown = spread(len(store), SHEETS)
    sections = (
        ("Problems", _problems(problems)),
        ("How it looks", "".join(_sheet(store, index) for index in shown) + _clip(store, shown[-1])),
        ("What is pressed", _actions(store)),
        ("How long the episodes are", figure("Episodes by length", "in seconds", _lengths(store))),
        ("Notes of the import", _notes(store)),
    )
    return page(f"{store.path.name}: data card", f"What is in {store.path.name}?", facts(summary), sections)


def facts(summary: Summary) -> dict[str, str]:
    """Return a summary as pairs for people; what a source does not say is left out."""
    height, width = summary.frame_size
    splits = ", ".join(f"{count:,} {name}" for name, count in sorted(summary.splits.items()))
    values = {
        "source": summary.source,
        "licence": summary.licence or "not said",
        "made by": summary.command,
        "play": f"{summary.hours:.2f} hours, {summary.frames:,} frames at {summary.fps:g} a second",
        "episodes": f"{summary.episodes:,} ({splits})",
        "frame": f"{width} x {height} pixels",
        "on disk": f"{summary.size_bytes / 2**20:,.1f} MiB",
        "state": ", ".join(summary.state_names),
        "game": summary.game or "",
        "fingerprint": summary.fingerprint,
    }
    return {name: value for name, value in values.items() if value}


def _problems(problems: Sequence[Problem]) -> str:
    if not problems:
        return '<p><b class="good">none found</b></p>'
    kinds = {"error": "bad", "warning": ""}
    rows = "".join(
        f'<tr><td><b class="{kinds[p.severity]}">{p.severity}</b></td><td>{_where(p)}</td>'
        f"<td>{escape(p.what)}<small>{escape(p.remedy)}</small></td></tr>"
        for p in problems
    )
    return f'<div class="wide"><table>{rows}</table></div>'


def _where(problem: Problem) -> str:
    places = (("episode", problem.episode), ("frame", problem.frame))
    return ", ".join(f"{noun} {number}" for noun, number in places if number is not None) or "store"


def _sheet(store: EpisodeStore, index: int) -> str:
    """Show frames spread over an episode, with what was held under each."""
    episode, record = store.episode(index), store.episodes[index]
    picked = np.array(spread(len(episode.actions), SHEET_FRAMES))
    pictures = overlay_keys(episode.frames[picked], store.actions, np.asarray(episode.actions[picked]), _scale(store))
    title = f"Episode {index}" + (f", {record.name}" if record.name else "")
    caption = f"{record.split}, {record.frames:,} frames; {len(picked)} of them, with what was held under each"
    return figure(title, caption, picture(contact_sheet(pictures, columns=COLUMNS), title))


def _clip(store: EpisodeStore, index: int) -> str:
    frames = min(store.episodes[index].frames - 1, round(SECONDS * store.fps))
    cut = store.read(index, 0, frames + 1)
    moving = overlay_keys(cut.frames[:-1], store.actions, np.asarray(cut.actions), _scale(store, CLIP_WIDTH))
    return figure(
        f"Episode {index}, in motion", f"its first {frames / store.fps:.0f} seconds", video(moving, store.fps)
    )


def _actions(store: EpisodeStore) -> str:
    counts = action_counts(store, spread(len(store), COUNTED), AXIS_BINS)
    figures = (figure(name, "share of frames", _bars(values)) for name, values in counts.items())
    return f'<div class="plots short">{"".join(figures)}</div>'


def _lengths(store: EpisodeStore) -> str:
    seconds = np.array([record.frames / store.fps for record in store.episodes])
    counts, edges = np.histogram(seconds, LENGTH_BINS)
    return _bars({f"{low:.1f} to {high:.1f}": int(n) for n, low, high in zip(counts, edges, edges[1:], strict=False)})


def _bars(values: Mapping[str, int]) -> str:
    """Return a bar chart of shares."""
    total, most = max(sum(values.values()), 1), max(*values.values(), 1)
    rows = (
        f'<span>{escape(name)}</span><i style="width:{100 * count / most:.1f}%"></i><span>{count / total:.1%}</span>'
        for name, count in values.items()
    )
    return f'<div class="bars">{"".join(rows)}</div>'


def _notes(store: EpisodeStore) -> str:
    notes = [*store.manifest.notes]
    notes += [f"{record.name}: {note}" for record in store.episodes for note in record.notes]
    more = [f"and {len(notes) - NOTES} more"] if len(notes) > NOTES else []
    return "".join(f"<p>{escape(note)}</p>" for note in [*notes[:NOTES], *more])


def _scale(store: EpisodeStore, width: int = WIDTH) -> int:
    return max(1, width // store.frame_size[1])
