"""Command: label-actions."""

import shlex
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from hallucade.cli.data import command_line
from hallucade.recipes.console import counting, say
from hallucade.recipes.labelled_play import label_actions as label


def label_actions(store: Positional[Path], out: Positional[Path], /, model: Path, resume: bool = False) -> None:
    """Give a store the actions that a latent-action model reads off its frames.

    Args:
        store: a store's folder; its own actions are not looked at.
        out: the new store's folder: the same frames, and a choice of latent actions with keys 1, 2, ...
        model: a run of `hallucade train latent_actions`.
        resume: continue a store that was interrupted.
    """
    with counting("labelling episodes") as progress:
        made = label(store, out, model, resume=resume, command=command_line(), progress=progress)
    rows = np.concatenate([made.episode(i).actions[:, 0] for i in range(len(made))]).astype(np.int64)
    shares = np.bincount(rows, minlength=len(made.actions.choices[0].options)) / len(rows)
    names = made.actions.choices[0].options
    say(f"{made.total_frames:,} frames in {len(made)} episodes: {out}")
    say("latent actions: " + ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True)))
    say(f"next: hallucade train unet_small --store {shlex.quote(str(out))}, then play it with keys 1 to {len(names)}")
