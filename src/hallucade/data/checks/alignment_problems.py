"""What an estimated alignment means for training, in a person's words."""

from collections.abc import Iterator

from hallucade.data.checks.alignment import EVERYWHERE, Alignment, ControlAlignment, GroupAlignment
from hallucade.data.checks.problem import Problem


def alignment_problems(alignment: Alignment) -> list[Problem]:
    """Return what is wrong: an error where the motion contradicts the actions, a warning where it casts doubt."""
    return [problem for group in alignment.groups for problem in _group_problems(group)]


def _group_problems(group: GroupAlignment) -> Iterator[Problem]:
    if group.lag is None:
        what = f"in {group.where} the pictures do not tell whether actions belong to them ({group.decision})"
        yield Problem(
            "warning", None, None, what, "look at `hallucade inspect`, and record play that uses the controls"
        )
        return
    turned = [c for c in group.controls if c.turns and c.lag is not None]
    episode = group.episodes[0] if group.episodes else None
    if turned:
        yield from (p for c in turned for p in _turn_problems(group, c, episode))
        yield from (p for c in group.controls if not c.turns for p in _doubts(group, c))
    elif group.lag != 0 and "partly" not in group.decision:
        severity = "error" if group.lag < 0 else "warning"  # a late answer may be the game's own
        yield Problem(severity, episode, None, _moves(group, "the picture", group.lag), _remedy(group, group.lag))


def _turn_problems(group: GroupAlignment, control: ControlAlignment, episode: int | None) -> Iterator[Problem]:
    assert control.lag is not None
    if control.lag != 0:
        noun = f"the view that {control.control!r} turns{' at times' if 'partly' in control.decision else ''}"
        what = _moves(group, noun, control.lag)
        yield Problem("error", episode, None, what, _remedy(group, control.lag))
    if control.inverted:
        what = f"in {group.where} {control.control!r} turns the view the other way than its `turns` says"
        remedy = f"import it again with --invert {control.control}, or correct what `turns` says"
        yield Problem("error", episode, None, what, remedy)


def _doubts(group: GroupAlignment, control: ControlAlignment) -> Iterator[Problem]:
    """A player may press a button because of what is seen, so motion that comes first is no proof."""
    if control.lag is not None and control.lag < 0 and "partly" not in control.decision:
        what = _moves(group, f"what goes with {control.control!r}", control.lag)
        yield Problem("warning", None, None, what, "its column may be late, or players press it when they see that")


def _moves(group: GroupAlignment, noun: str, lag: int) -> str:
    frames = "frame" if abs(lag) == 1 else "frames"
    side = "before its action" if lag < 0 else "later than its action says"
    return f"in {group.where} {noun} moves {abs(lag)} {frames} {side}"


def _remedy(group: GroupAlignment, lag: int) -> str:
    right = f"row i belongs to frame i {'+' if lag > 0 else '-'} {abs(lag)}"
    if group.where == EVERYWHERE:
        return f"import it again with --delay {lag}: {right}"
    return f"mend or leave out that part of the source: there, {right}"
