"""Whether actions and pictures belong together: the lag and the sign between what is held and what moves.

Lag 0 is the convention: action i is held while frame i is on screen and moves the picture to frame i + 1. A lag below 0
means that the picture moves first, so the actions are named late; no inertia explains that. The answer is estimated for
all rows, then looked for in parts of the episodes and in single episodes, since recordings break half-way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hallucade.actions import ActionSpace
from hallucade.data.checks.action_signals import signals_of
from hallucade.data.checks.alignment_evidence import CHANGES, PARTS, Evidence, Run, gather
from hallucade.data.checks.lag_response import LAGS, REACH, LagModel, Response

CERTAIN = 5.0  # standard errors from which an answer counts; dozens of controls and lags are tested
LIKELY = 3.0  # standard errors that are enough for what is certain elsewhere
STRONG = 0.3  # of the strongest answer from which a lag counts as answering too
BLOCKS = 8  # at least, of rows that tell one lag from another
STRETCH = 8  # successive rows that are compared as one
OUTLIER = 9.0  # typical squared errors: a row counts for no more
ROWS = 300  # at least, for a group of rows to be judged by itself

EVERYWHERE = "all episodes"


@dataclass(frozen=True)
class ControlAlignment:
    """How the picture answers one control."""

    control: str  # its name; of a choice with the option that shows best, "move=up"
    decision: str  # "aligned", "late by 1", "early by 2", "inverted", "undecided: ..."
    lag: int | None  # frames from an action to the start of its motion; -1: the action is named a frame late
    inverted: bool  # the view turns the other way than `turns` says
    turns: bool  # whether it is known where the control turns the view
    r2: tuple[float, ...]  # at lags -3..3: share of the motion's variance that the action explains alone
    response: tuple[float, ...]  # at lags -3..3: motion per unit of action, all lags and controls taken together
    t: tuple[float, ...]  # at lags -3..3: the response over its standard error
    frames: int  # pairs of frames used


@dataclass(frozen=True)
class GroupAlignment:
    """How the picture answers in all episodes, or in a part that differs from the rest."""

    where: str  # "all episodes", "the first 50 % of each episode", "episodes 3, 7"
    episodes: tuple[int, ...]  # numbers, where single episodes differ; () otherwise
    decision: str  # of all controls together
    lag: int | None
    controls: tuple[ControlAlignment, ...]
    frames: int


@dataclass(frozen=True)
class Alignment:
    """What `estimate_alignment` found: one group, or more where parts of the recording differ."""

    groups: tuple[GroupAlignment, ...]


def estimate_alignment(actions: ActionSpace, runs: Sequence[Run]) -> Alignment:
    """Estimate lag and sign of every control, and of all together, from runs of frames spread over a store."""
    evidence = gather(signals_of(actions), runs)
    answers = _judge(evidence)
    loss, typical = _losses(evidence, answers)
    parts = _shifted_parts(loss, typical, evidence.part)
    lags = _likeliest(loss, evidence.part, typical, parts) if parts else _split(evidence, answers)
    if len(set(lags)) > 1:
        return Alignment(_by_part(actions, evidence, lags))
    episodes = _shifted(loss, typical, evidence.episode)
    return Alignment(_by_episode(actions, evidence, episodes, typical))


@dataclass(frozen=True)
class _Answer:
    """One signal's answer, and what is needed to look for it elsewhere."""

    signal: int
    response: Response
    motion: Float64[np.ndarray, "n"]  # without what other controls explain

    @property
    def certain(self) -> float:
        """Motion for one unit of the signal, over all lags; 0 if it is not certain that there is any."""
        response = self.response
        if abs(response.steady) >= CERTAIN * response.steady_error:  # also where actions of two lags are mixed
            return response.steady
        return float(response.effect[np.abs(response.t) >= CERTAIN].sum())

    @property
    def strength(self) -> float:
        return float(np.abs(self.response.t).max())


def _judge(evidence: Evidence) -> list[_Answer]:
    """Return the answer to every signal that varies."""
    varying = [i for i in range(len(evidence.signals)) if evidence.changes(i) >= CHANGES]
    if not varying or len(evidence) < ROWS // 2 or len(np.unique(evidence.block)) < BLOCKS:
        return []
    model = LagModel(evidence.terms[:, varying], evidence.block)
    answers: list[_Answer] = []
    for place, signal in enumerate(varying):
        motion = evidence.motion(signal)
        answers.append(_Answer(signal, model.response(place, motion), model.without_others(place, motion)))
    return answers


def _losses(evidence: Evidence, answers: Sequence[_Answer]) -> tuple[Float64[np.ndarray, "n 7"], int]:
    """Return for each row how badly each lag fits, over all controls, and the lag that fits best."""
    loss = np.zeros((len(evidence), len(LAGS)))
    for answer in answers:
        if not answer.certain:
            continue
        terms = evidence.terms[:, answer.signal] - evidence.terms[:, answer.signal].mean(axis=0)
        error = (answer.motion[:, None] - answer.certain * terms) ** 2
        loss += np.minimum(error / error.mean(axis=0).min(), OUTLIER)
    return loss, int(loss.sum(axis=0).argmin()) - REACH


def _shifted(loss: Float64[np.ndarray, "n 7"], typical: int, group: Int64[np.ndarray, "n"]) -> dict[int, int]:
    """Return the groups in which another lag than the typical one fits certainly better, and that lag.

    Where one group certainly has a lag, less is asked of others that seem to have the same.
    """
    better = {name: _better_lag(loss[group == name], typical) for name in np.unique(group).tolist()}
    certain = {lag for lag, t in better.values() if t >= CERTAIN}
    return {name: lag for name, (lag, t) in better.items() if lag in certain and t >= LIKELY}


def _shifted_parts(loss: Float64[np.ndarray, "n 7"], typical: int, part: Int64[np.ndarray, "n"]) -> dict[int, int]:
    """Return the parts with another lag: each that is certain alone, and the neighbours that are most so together."""
    spans = [range(low, high) for low in range(PARTS) for high in range(low + 1, PARTS + 1)]
    better = {span: _better_lag(loss[np.isin(part, span)], typical) for span in spans}
    best = max(spans, key=lambda span: better[span][1])
    lag, t = better[best]
    together = dict.fromkeys(best, lag) if t >= CERTAIN and len(best) < PARTS else {}
    return together | _shifted(loss, typical, part)


def _better_lag(loss: Float64[np.ndarray, "n 7"], typical: int) -> tuple[int, float]:
    """Return the lag that fits some rows best, and by how many standard errors it beats the typical one."""
    best = int(loss.sum(axis=0).argmin())
    gains = np.add.reduceat(loss[:, typical + REACH] - loss[:, best], np.arange(0, len(loss), STRETCH))
    gains = gains[gains != 0]
    if best == typical + REACH or len(gains) < BLOCKS:
        return best - REACH, 0.0
    return best - REACH, float(gains.mean() / (gains.std(ddof=1) / len(gains) ** 0.5 + 1e-12))


def _likeliest(
    loss: Float64[np.ndarray, "n 7"], part: Int64[np.ndarray, "n"], typical: int, certain: dict[int, int]
) -> list[int]:
    """Return the lag of every part, where some certainly differ: the best of those that occur."""
    lags = sorted({typical, *certain.values()})
    sums = [loss[part == p][:, np.array(lags) + REACH].sum(axis=0) for p in range(PARTS)]
    return [certain.get(p, lags[int(sums[p].argmin())]) for p in range(PARTS)]


def _split(evidence: Evidence, answers: Sequence[_Answer]) -> list[int]:
    """Look for a place in the episodes at which motion starts or stops to come before its action.

    Where inertia spreads an answer over many frames, no single lag fits a part much better than the next one. Returns
    that lag for the parts on one side and 0 for the others; nothing if there is no such place.
    """
    first = [(answer, span[0]) for answer in answers if (span := _span(answer.response)) and span[0] < 0]
    if not first:
        return []
    answer, lag = max(first, key=lambda pair: pair[0].strength)
    places = {place: _contrast(evidence, answer, lag, evidence.part < place) for place in range(1, PARTS)}
    best = max(places, key=lambda place: abs(places[place]))
    if abs(places[best]) < LIKELY:  # something is wrong for certain, and this is only where
        return []
    return [lag if (part < best) == (places[best] > 0) else 0 for part in range(PARTS)]


def _contrast(evidence: Evidence, answer: _Answer, lag: int, side: Bool[np.ndarray, "n"]) -> float:
    """Return by how many standard errors the answer at one lag is greater in some rows than in the others."""
    effects: list[float] = []
    variances: list[float] = []
    for rows in (side, ~side):
        if not rows.any():
            return 0.0
        terms = evidence.terms[rows, answer.signal : answer.signal + 1]
        response = LagModel(terms, evidence.block[rows]).response(0, answer.motion[rows])
        effects.append(abs(float(response.effect[lag + REACH])))
        variances.append(float(response.error[lag + REACH]) ** 2)
    return (effects[0] - effects[1]) / (sum(variances) + 1e-12) ** 0.5


def _by_part(actions: ActionSpace, evidence: Evidence, lags: Sequence[int]) -> tuple[GroupAlignment, ...]:
    groups: list[GroupAlignment] = []
    for lag in sorted(set(lags)):
        parts = [part for part in range(PARTS) if lags[part] == lag]
        rows = evidence.where(np.isin(evidence.part, parts))
        groups.append(_group(actions, rows, f"{_percent(parts)} of each episode", (), lag))
    return tuple(groups)


def _by_episode(
    actions: ActionSpace, evidence: Evidence, shifted: dict[int, int], typical: int
) -> tuple[GroupAlignment, ...]:
    usual = evidence.where(~np.isin(evidence.episode, list(shifted)))
    groups = [_group(actions, usual, "all other episodes" if shifted else EVERYWHERE, (), None)]
    for lag in sorted(set(shifted.values())):
        episodes = tuple(episode for episode, found in shifted.items() if found == lag)
        rows = evidence.where(np.isin(evidence.episode, episodes))
        where = f"episode{'s' if len(episodes) > 1 else ''} {', '.join(map(str, episodes))}"
        start = None if groups[0].lag is None else groups[0].lag + lag - typical
        groups.append(_group(actions, rows, where, episodes, start))
    return tuple(groups)


def _group(
    actions: ActionSpace, evidence: Evidence, where: str, episodes: tuple[int, ...], known: int | None
) -> GroupAlignment:
    """Judge some rows by themselves; where they are too few, by the lag that is `known` from comparison."""
    answers = _judge(evidence)
    controls = tuple(_control(evidence, answers, name) for name in actions.names)
    decision, lag = _together(controls)
    if lag is None and known is not None:
        decision, lag = _words(known, inverted=False), known
    return GroupAlignment(where, episodes, decision, lag, controls, len(evidence))


def _control(evidence: Evidence, answers: Sequence[_Answer], name: str) -> ControlAlignment:
    mine = [answer for answer in answers if evidence.signals[answer.signal].control == name]
    if not mine:
        turns = any(s.turns is not None for s in evidence.signals if s.control == name)
        none = (0.0,) * len(LAGS)
        decision = "undecided: too little variation"
        return ControlAlignment(name, decision, None, False, turns, none, none, none, len(evidence))
    best = max(mine, key=lambda answer: answer.strength)
    signal, response = evidence.signals[best.signal], best.response
    decision, lag, inverted = _verdict(response, signal.turns is not None)
    r2, effect, t = (tuple(map(float, values)) for values in (response.r2, response.effect, response.t))
    turns = signal.turns is not None
    return ControlAlignment(signal.name, decision, lag, inverted, turns, r2, effect, t, response.rows)


def _span(response: Response) -> tuple[int, int] | None:
    """Return the first lag that answers strongly and the one that does most; None if none does certainly."""
    sizes = np.where(np.abs(response.t) >= CERTAIN, np.abs(response.effect), 0)
    if not sizes.any():
        return None
    return int(np.argmax(sizes >= STRONG * sizes.max())) - REACH, int(sizes.argmax()) - REACH


def _verdict(response: Response, turns: bool) -> tuple[str, int | None, bool]:
    """Return decision, the lag at which the answer starts, and whether the view turns the wrong way."""
    span = _span(response)
    if span is None:
        return "undecided: no answer in the picture", None, False
    start, peak = span
    inverted = turns and bool(response.effect[peak + REACH] < 0)
    partly = "partly " if start < 0 <= peak else ""
    return partly + _words(start, inverted), start, inverted


def _together(controls: Sequence[ControlAlignment]) -> tuple[str, int | None]:
    """Return the decision of the control with the clearest answer; those that turn the view come first."""
    decided = [control for control in controls if control.lag is not None]
    if not decided:
        return "undecided: too little motion or variation", None
    clearest = max(decided, key=lambda control: (control.turns, max(map(abs, control.t))))
    return clearest.decision, clearest.lag


def _words(lag: int, inverted: bool) -> str:
    if lag == 0:
        return "inverted" if inverted else "aligned"
    return f"{'late' if lag < 0 else 'early'} by {abs(lag)}{', inverted' if inverted else ''}"


def _percent(parts: Sequence[int]) -> str:
    """Return "0-50 %" for the first two of four parts; neighbours are joined."""
    step, spans = 100 // PARTS, list[list[int]]()
    for part in parts:
        if spans and spans[-1][1] == part * step:
            spans[-1][1] += step
        else:
            spans.append([part * step, (part + 1) * step])
    return " and ".join(f"{low}-{high} %" for low, high in spans)
