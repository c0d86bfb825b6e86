"""One run of an ablation: train, judge, write down. A run that diverges or fails is a row of the table, not the end."""

import functools
import hashlib
import json
import math
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import hallucade
from hallucade.config import Config
from hallucade.data.latent_cache import LatentCache
from hallucade.data.mixture import Mixture
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.evaluate import PONG, evaluate
from hallucade.evaluation.game_check.pong import PongCheckConfig
from hallucade.evaluation.long_run.check import LongRunConfig
from hallucade.evaluation.page import write_whole
from hallucade.evaluation.recorded_clips import ClipCheckConfig
from hallucade.evaluation.report import write_report
from hallucade.evaluation.result import Evaluation
from hallucade.recipes.ablation.cost import training_seconds
from hallucade.recipes.ablation.grid import Arm
from hallucade.recipes.console import explain
from hallucade.recipes.load import load, run_facts
from hallucade.recipes.run_config import RunConfig
from hallucade.recipes.stages import resolved
from hallucade.recipes.train import check_same_run, train
from hallucade.rollout import World
from hallucade.training.provenance import provenance
from hallucade.training.trainer import TrainingDivergedError

RECORD, TRACEBACK = "ablation_run.json", "error.txt"
NOT_IN_A_RUN = ("cli", "play", "recipes/ablation")  # rooms whose code changes no run
Store = EpisodeStore | Mixture


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(Config):
    """How every run is judged: by the game where a simulator knows it, and otherwise by the store's held-out clips."""

    pong: PongCheckConfig = field(
        default_factory=lambda: PongCheckConfig(
            rollouts=64, horizon=64, response_rollouts=32, survival_rollouts=8, survival_frames=250
        )
    )
    clips: ClipCheckConfig = field(default_factory=ClipCheckConfig)
    long: LongRunConfig = field(default_factory=lambda: LongRunConfig(frames=0))  # left out: it would take longest
    recorded: bool = False  # by held-out clips too where a simulator knows the game

    def judge(self, world: World, store: Store) -> Evaluation:
        """Evaluate a trained world."""
        wanted = self.recorded or world.game != PONG
        recorded = store if wanted and isinstance(store, EpisodeStore) else None
        return evaluate(world, recorded, pong=self.pong, clips=self.clips, long=self.long)


@dataclass(frozen=True, kw_only=True)
class RunRecord(Config):
    """What became of a run; beside its checkpoints."""

    state: Literal["started", "finished", "diverged", "failed"]
    config: RunConfig
    judge: JudgeConfig
    code: str  # fingerprint
    commit: str | None
    latents: tuple[str, ...] = ()  # fingerprints of the caches that took the place of frames
    reason: str = ""  # why it diverged or failed
    seconds: float = 0.0  # of training steps
    metrics: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Job:
    """One arm with one seed, and where its run lies."""

    arm: Arm
    seed: int
    folder: Path

    @property
    def config(self) -> RunConfig:
        """The run to train."""
        return self.arm.seeded(self.seed)

    def record(self) -> RunRecord | None:
        """Return what became of it so far, None if it was never started.

        Raises:
            ValueError: the file is damaged or of another version.
        """
        path = self.folder / RECORD
        if not path.is_file():
            return None
        try:
            return RunRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; remove that run's folder to train it again") from error

    def ended(self, judge: JudgeConfig) -> bool:
        """Return whether there is nothing left to do: judged so, or diverged, which would only happen again."""
        record = self.record()
        return record is not None and (
            record.state == "diverged" or (record.state == "finished" and record.judge == judge)
        )


def perform(
    job: Job, store: Store, judge: JudgeConfig, latents: Sequence[LatentCache] = (), *, progress: bool = False
) -> RunRecord | None:
    """Bring a run to its end: train what is missing, from the newest checkpoint, and judge it.

    Returns:
        What became of it; None if the user wants to stop.
    """
    before = job.record()
    config = resolved(job.config, store)
    record = RunRecord(
        state="started",
        config=config,
        judge=judge,
        code=code_of_runs(),
        commit=provenance()["commit"],
        latents=_fingerprints(latents),
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    _write(job, record)
    try:
        if before is None or before.state != "finished":
            reason = train(job.config, store, job.folder, latents=latents, resume=True, progress=progress).reason
            if reason != "finished":
                return None if reason == "interrupted" else record
        metrics = _judged(job, store, judge)
        record = replace(record, state="finished", seconds=training_seconds(job.folder, config), metrics=metrics)
    except TrainingDivergedError as error:
        record = replace(record, state="diverged", reason=str(error))
    except Exception as error:  # whatever it is: hours of other runs do not end with it
        (job.folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        record = replace(record, state="failed", reason=explain(error))
    _write(job, record)
    return record


def check_jobs(
    jobs: Iterable[Job], store: Store, latents: Sequence[LatentCache] = (), *, other_code: bool = False
) -> None:
    """Refuse folders that hold runs of another config, other data or other code.

    Raises:
        ValueError: names the run and what differs.
    """
    code = code_of_runs()
    for job in jobs:
        if (record := job.record()) is None:
            continue
        if record.latents != _fingerprints(latents):
            before, now = (" and ".join(each) or "none" for each in (record.latents, _fingerprints(latents)))
            raise ValueError(
                f"{job.folder} was trained on the latents {before}, now they are {now}; give the same --latents, or "
                "another --out"
            )
        check_same_run(resolved(job.config, store), job.folder)
        if record.code != code and not other_code:
            raise ValueError(
                f"{job.folder} was run by other code (commit {record.commit}); choose another --out, go back to that "
                "code, or add --other-code to put both into one table"
            )


@functools.cache  # what this process began with, whatever is edited while it trains for hours
def code_of_runs() -> str:
    """Return a fingerprint of all code of this package that can change a run."""
    root = Path(hallucade.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(tuple(f"{room}/" for room in NOT_IN_A_RUN)):
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _fingerprints(latents: Sequence[LatentCache]) -> tuple[str, ...]:
    return tuple(sorted(cache.fingerprint for cache in latents))


def _judged(job: Job, store: Store, judge: JudgeConfig) -> dict[str, float]:
    evaluation = judge.judge(load(job.folder), store)
    write_report(job.folder, evaluation, run_facts(job.folder))
    return {name: float(value) for name, value in evaluation.metrics.items() if math.isfinite(value)}


def _write(job: Job, record: RunRecord) -> None:
    write_whole(job.folder / RECORD, json.dumps(record.to_json(), indent=2) + "\n")
