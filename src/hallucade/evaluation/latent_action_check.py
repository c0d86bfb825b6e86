"""Do latent actions steer the picture, and do they line up with what players did?

Source: of the loss in PSNR under other codes Bruce et al. 2024, arXiv:2402.15391, section 3.1.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from scipy import optimize

from hallucade.actions import ActionSpace, Axis
from hallucade.config import Config
from hallucade.data.clips import ClipWindows
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.result import Evaluation, Progress, silent
from hallucade.models.latent_actions import LatentActions
from hallucade.tokenizers.pictures import as_frames

SPLIT = "validation"
COLLAPSED = 1.5  # perplexity below which codes say next to nothing


@dataclass(frozen=True, kw_only=True)
class LatentActionCheckConfig(Config):
    """How much held-out play is looked at.

    Raises:
        ValueError: nothing to look at.
    """

    windows: int = 4096  # of validation episodes
    batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("windows", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use 1 or more")


@torch.no_grad()
def evaluate_latent_actions(
    network: LatentActions,
    store: EpisodeStore,
    config: LatentActionCheckConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Judge latent actions by validation episodes; metrics are named ``latent_actions/psnr``.

    Raises:
        ValueError: frames of another size, or no validation episode that is long enough.
    """
    config = config or LatentActionCheckConfig()
    check_frame_size(network, store)
    length, rng = network.config.window, np.random.default_rng(config.seed)
    windows = ClipWindows(store, store.actions, frames=length, batch=config.windows, seed=config.seed, split=SPLIT)
    ids = windows.ids_at(0)
    codes, held, scores = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for start in range(0, len(ids), config.batch):
        frames, rows = windows.windows.gather(ids[start : start + config.batch])
        pixels = torch.from_numpy(frames).to(network.counts.device)
        own = network.codes_of(pixels)
        other = (own + torch.from_numpy(rng.integers(1, network.codes, len(own))).to(own.device)) % network.codes
        shown = [as_frames(network.predicted(pixels, each)) for each in (own, other)]
        scores.append(np.stack([psnr(each, pixels[:, -1]).cpu().numpy() for each in (*shown, pixels[:, -2])]))
        codes.append(own.cpu().numpy())
        held.append(rows[:, -1])
        progress("reading latent actions", (start + len(own)) / len(ids))
    found = np.concatenate(codes)
    told, others, copied = np.concatenate(scores, 1).astype(np.float64).mean(1).tolist()
    metrics = {"psnr": told, "psnr_other": others, "psnr_copy": copied, "psnr_lost_by_other": told - others}
    metrics |= code_metrics(found, network.codes)
    metrics |= action_metrics(store.actions, found, np.concatenate(held), rng)
    about = f"{len(ids)} windows of {length} frames of the {SPLIT} split, seed {config.seed}; store {store.fingerprint}"
    notes = (collapse_note(metrics["perplexity"], network.codes),) if metrics["perplexity"] < COLLAPSED else ()
    return Evaluation(
        {f"latent_actions/{name}": value for name, value in metrics.items()},
        protocol={"Latent actions": about},
        notes=notes,
    )


def check_frame_size(network: LatentActions, store: EpisodeStore) -> None:
    """Refuse a store of other pictures.

    Raises:
        ValueError: names both sizes.
    """
    if store.frame_size != network.frame_size:
        have, want = ("x".join(map(str, size)) for size in (store.frame_size, network.frame_size))
        raise ValueError(f"{store.path} holds frames of {have} pixels, and these latent actions are read off {want}")


def code_metrics(codes: Int64[np.ndarray, "n"], count: int) -> dict[str, float]:
    """Return how codes are used: usage, the share that occurs; and perplexity, the exponential of their entropy."""
    shares = np.bincount(codes, minlength=count) / len(codes)
    return {"usage": float((shares > 0).mean()), "perplexity": float(np.exp2(entropy(shares)))}


def collapse_note(perplexity: float, count: int) -> str:
    """Say that the codes tell next to nothing, and what may help."""
    return (
        f"The latent actions have collapsed: of {count} codes, {perplexity:.2f} are in effective use, so nothing can "
        "be steered by them. Train longer, or with the bottleneck open for a larger share of the steps (free)."
    )


def action_metrics(
    actions: ActionSpace,
    codes: Int64[np.ndarray, "n"],
    rows: Float32[np.ndarray, "n c"],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return how codes line up with recorded actions; nothing where these never change.

    ``information`` is the mutual information in bits of codes and joint actions, ``information_luck`` what codes in
    another order would have, ``information_share`` the former over the entropy of actions. ``one_to_one`` is the
    accuracy of the best assignment of different codes to actions, ``many_to_one`` that of the commonest action of each
    code, ``commonest`` that of one and the same action always. Of an axis only its sign counts.
    """
    told = signs(actions, rows)
    _, joint = np.unique(told, axis=0, return_inverse=True)
    joint = joint.reshape(-1)
    table = contingency(codes, joint)
    if table.shape[1] < 2:
        return {}
    bits = entropy(table.sum(0) / len(codes))
    known = mutual_information(table)
    matched = cast("tuple[np.ndarray, np.ndarray]", optimize.linear_sum_assignment(table, maximize=True))
    metrics = {
        "action_entropy": bits,
        "information": known,
        "information_luck": mutual_information(contingency(rng.permutation(codes), joint)),
        "information_share": known / bits,
        "one_to_one": float(table[matched].sum() / len(codes)),
        "many_to_one": float(table.max(1).sum() / len(codes)),
        "commonest": float(table.sum(0).max() / len(codes)),
    }
    for column, control in enumerate(actions.controls):
        _, values = np.unique(told[:, column], return_inverse=True)
        table = contingency(codes, values.reshape(-1))
        if table.shape[1] > 1:
            share = mutual_information(table) / entropy(table.sum(0) / len(codes))
            metrics[f"information_share/{control.name}"] = share
    return metrics


def signs(actions: ActionSpace, rows: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "n c"]:
    """Return raw rows with each axis replaced by -1, 0 or 1: to which side of its rest it is."""
    axes = np.array([isinstance(control, Axis) for control in actions.controls])
    return np.where(axes, np.sign(rows - actions.idle), rows).astype(np.float32)


def contingency(one: Int64[np.ndarray, "n"], other: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "k m"]:
    """Count how often each value of one comes with each of the other."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1), np.int64)
    np.add.at(table, (one, other), 1)
    return table


def mutual_information(table: Int64[np.ndarray, "k m"]) -> float:
    """Return what one tells of the other, in bits."""
    shares = table / table.sum()
    return entropy(shares.sum(0)) + entropy(shares.sum(1)) - entropy(shares.reshape(-1))


def entropy(shares: Float64[np.ndarray, "n"]) -> float:
    """Return the entropy of a distribution in bits."""
    known = shares[shares > 0]
    return max(0.0, float(-(known * np.log2(known)).sum()))
