"""Command: probe."""

from dataclasses import asdict
from pathlib import Path

from tyro.conf import Positional

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.planning.probe_training import ProbeTrainingConfig, train_probe
from hallucade.evaluation.planning.state_probe import StateProbeConfig, save_probe
from hallucade.recipes.console import say, staged


def probe(
    store: Positional[Path],
    /,
    columns: tuple[str, ...],
    angles: tuple[str, ...] = (),
    out: Path | None = None,
    width: int = 16,
    training: ProbeTrainingConfig = ProbeTrainingConfig(),  # noqa: B008 - frozen
) -> None:
    """Learn to read states or rewards off pictures, as a cost for planning.

    Args:
        store: recorded play with states or rewards.
        columns: what is read: state variables of the store, or reward.
        angles: those of them that are angles in radians.
        out: the probe's folder; by default STORE_probe beside the store.
        width: of the network, channels of its first convolutions.
        training: for how long.
    """
    opened = EpisodeStore(store)
    folder = out or store.resolve().with_name(f"{store.resolve().name}_probe")
    if folder.exists() and any(folder.iterdir()):  # minutes before it is needed
        raise ValueError(f"{folder} is not empty; choose another --out")
    config = StateProbeConfig(columns=columns, angles=angles, width=width)
    folder.mkdir(parents=True, exist_ok=True)
    with staged("learning to read") as stage:
        learned, errors = train_probe(opened, config, training, stage)
    told = {name: asdict(error) for name, error in errors.items()}
    save_probe(learned, folder, {"errors": told, "training": training.to_json(), "data": opened.fingerprint})
    say("errors on held-out frames: mean, and what 95 % of them stay below")
    for name, error in errors.items():
        say(f"{name:>16}  {error.mean:.3g}  {error.high:.3g}  (deviation {error.spread:.3g})")
    say(f"written: {folder}")
