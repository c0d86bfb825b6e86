"""How fast each recipe trains, from store to optimizer, and how near that is to the machine's peak."""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measurement import Details, Measurement, device
from benchmarks.peak import matmul_peak
from hallucade.data.clips import ClipWindows
from hallucade.data.recorder import RecordingConfig, record
from hallucade.data.store import EpisodeStore
from hallucade.methods.pretrain import Pretrain
from hallucade.models.base import DiffusionModel
from hallucade.models.diffusion_transformer import DiffusionTransformer, DiffusionTransformerConfig
from hallucade.models.unet import UNetConfig
from hallucade.objectives.diffusion_forcing import DiffusionForcingConfig
from hallucade.recipes.registry import find_recipe
from hallucade.recipes.run_config import RunConfig
from hallucade.training.curriculum import Stage
from hallucade.training.trainer import Trainer
from hallucade.training.trainer_config import TrainerConfig

COUNTED = 2  # clips in the pass whose operations are counted
TRANSFORMER_STAGE = Stage(steps=1, frames=32, batch=32)


@dataclass(frozen=True)
class Case:
    """A run to time: `steps` optimizer steps to warm up, as many again to measure."""

    run: RunConfig
    stage: Stage
    steps: int


def cases() -> dict[str, Case]:
    """Return what is measured, by name."""
    micro, pong, toy_wm = (find_recipe(name) for name in ("pong_micro", "pong", "pong_toy_wm"))
    small = replace(toy_wm.stages[0], batch=1) if device().type == "cpu" else toy_wm.stages[0]
    return {
        "pong_micro": Case(micro, micro.stages[0], 20),
        "pong": Case(pong, pong.stages[-1], 8),
        "unet": Case(_small_unet(micro), micro.stages[0], 40),
        "unet_batch128": Case(_small_unet(micro), replace(micro.stages[0], batch=128), 20),
        "transformer": Case(_transformer(micro, patch=4), TRANSFORMER_STAGE, 12),
        "transformer_patch6": Case(_transformer(micro, patch=6), TRANSFORMER_STAGE, 12),
        "transformer_patch8": Case(_transformer(micro, patch=8), TRANSFORMER_STAGE, 24),
        "pong_toy_wm": Case(toy_wm, small, 2),
    }


def _small_unet(micro: RunConfig) -> RunConfig:
    """Return the demo's training with a network of 0.58M parameters: no recipe of the package, a size to compare."""
    return replace(micro, recipe="U-Net, widths 48 and 80", model=UNetConfig(widths=(48, 80)))


def _transformer(micro: RunConfig, patch: int) -> RunConfig:
    """Return diffusion forcing of the model family's default size, 1.3M parameters: no recipe of the package."""
    return replace(
        micro,
        recipe=f"default transformer, patch {patch}",
        model=DiffusionTransformerConfig(patch=patch),
        objective=DiffusionForcingConfig(),
    )


def measure(case: Case, store: EpisodeStore, folder: Path) -> Measurement:
    """Train `case` for a moment with the trainer that users run."""
    run, stage = case.run, case.stage
    clips = ClipWindows(store, store.actions, frames=stage.frames, batch=stage.batch)
    config: TrainerConfig = replace(
        run.trainer, steps=2 * case.steps, log_every=case.steps, checkpoint_every=10 * case.steps, minutes=None
    )
    method = build_method(run, store)
    trainer = Trainer(config, method, clips, folder, run_config=run.to_json(), progress=False)
    frames_per_s = trainer.train().frames_per_s
    gflop = gflop_per_frame(run, store, stage)
    peak = matmul_peak(torch.bfloat16 if config.precision == "bf16-mixed" else torch.float32, device())
    lead = method.model.lead if isinstance(method.model, DiffusionModel) else 0
    details: Details = {
        "recipe": run.recipe,
        "parameters": sum(p.numel() for p in method.model.parameters()),
        "batch": stage.batch,
        "clip_frames": stage.frames,
        "graded_frames_per_s": frames_per_s * (stage.frames - lead) / stage.frames,
        "gflop_per_frame": gflop,
        "share_of_peak": frames_per_s * gflop / peak,
        "peak_gflop_per_s": peak,
        "precision": config.precision,
        "device": device().type,
    }
    if isinstance(method.model, DiffusionTransformer):
        details["tokens_per_frame"] = method.model.positions.tokens
    return Measurement("train_frames_per_s", frames_per_s, "frames/s", details)


def build_method(run: RunConfig, store: EpisodeStore) -> Pretrain:
    """Build the recipe's method with fresh weights."""
    tokenizer = run.tokenizer.build()
    model = run.model.build(store.actions, tokenizer.latent_shape(*store.frame_size))
    assert run.objective is not None
    return Pretrain(tokenizer, model, run.objective.build())


def gflop_per_frame(run: RunConfig, store: EpisodeStore, stage: Stage) -> float:
    """Count the operations of one forward and backward pass, a frame of the clip."""
    clip = ClipWindows(store, store.actions, frames=stage.frames, batch=COUNTED).batch_at(0)
    with FlopCounterMode(display=False) as counter:
        for _, loss in build_method(run, store).losses(clip, 0):
            loss.backward()
    return counter.get_total_flops() / (COUNTED * stage.frames) / 1e9


def main() -> None:
    known = cases()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(known), metavar="CASE", help=", ".join(known))
    names = parser.parse_args().cases
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown case(s) {', '.join(unknown)}; choose from {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        store = record(RecordingConfig(frames=30_000), Path(folder) / "store")
        for name in names:
            measure(known[name], store, Path(folder) / name).print()


if __name__ == "__main__":
    main()
