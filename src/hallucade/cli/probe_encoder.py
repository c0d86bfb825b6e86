"""Command: probe-encoder."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from hallucade.data.store import EpisodeStore
from hallucade.evaluation.encoder_quality import EncoderCheckConfig, evaluate_encoder
from hallucade.evaluation.linear_probe import LinearProbeConfig
from hallucade.evaluation.report import write_report
from hallucade.models.encoder_folder import EncoderFolder
from hallucade.recipes.console import say, staged
from hallucade.recipes.load import default_device

NAMES = ("probe", "random", "supervised")


def probe_encoder(
    run: Positional[Path],
    /,
    store: Path,
    out: Path | None = None,
    probing: Annotated[LinearProbeConfig, tyro.conf.arg(name="")] = LinearProbeConfig(),  # noqa: B008 - frozen
    check: Annotated[EncoderCheckConfig, tyro.conf.arg(name="")] = EncoderCheckConfig(),  # noqa: B008 - frozen
) -> None:
    """Say what an encoder knows of a game: its simulator's state, read off features by a linear map.

    Args:
        run: a run that trained an encoder, or a folder that holds one.
        store: recorded play with the simulator's state.
        out: where metrics.json and report.html go; by default the run.
        probing: what is read, off how much play.
        check: which encoders stand beside it.
    """
    folder, opened = EncoderFolder.open(run), EpisodeStore(store)
    encoder = folder.load().to(default_device())
    out = out or run
    out.mkdir(parents=True, exist_ok=True)  # minutes before it is needed
    with staged("probing") as stage:
        evaluation = evaluate_encoder(encoder, opened, probing, check, stage)
    facts = folder.facts
    write_report(out, evaluation, {"run": str(run), "encoder": facts.fingerprint, "step": facts.step})
    metrics = evaluation.metrics
    names = [name for name in NAMES if f"{name}/mean/r2" in metrics]
    say(f"{'share explained (mean error)':>28}  " + "".join(f"{name:>24}" for name in names))
    columns = [key.split("/")[1] for key in metrics if key.startswith("probe/") and key.endswith("/spread")]
    for column in columns:
        cells = (f"{metrics[f'{n}/{column}/r2']:.3f} ({metrics[f'{n}/{column}/error']:.3g})" for n in names)
        say(f"{column:>28}  " + "".join(f"{cell:>24}" for cell in cells))
    say(f"{'mean':>28}  " + "".join(f"{metrics[f'{n}/mean/r2']:>24.3f}" for n in names))
    say(f"report: {out / 'report.html'}")
