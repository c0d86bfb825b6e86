"""Values of axes that leave their range: rare jerks of a mouse, which would squeeze everything else into a corner."""

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.shapes import ActionRows


def clipped(actions: ActionSpace, rows: ActionRows) -> tuple[ActionRows, list[str]]:
    """Return rows within the axes' ranges, and a note on each axis that was cut; out-of-range values are rare jerks."""
    notes: list[str] = []
    first = len(actions.buttons) + len(actions.choices)
    rows = rows.copy()
    for column, axis in enumerate(actions.axes, first):
        values = rows[:, column]
        outside = (values < np.float32(axis.low)) | (values > np.float32(axis.high))
        if outside.any():
            low, high = float(values.min()), float(values.max())
            notes.append(
                f"{axis.name} reaches {low:g} to {high:g}: {int(outside.sum())} of {len(rows)} rows are clipped"
            )
            rows[:, column] = values.clip(axis.low, axis.high)
    return rows, notes
