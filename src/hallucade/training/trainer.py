"""The training loop: batches in, updates, averages, checkpoints and logs out. It knows no algorithm and no metric.

A run is a pure function of its config and data: batches depend on (seed, step, rank), every step seeds the global
generators from (seed, step), and a checkpoint holds all the rest, so that a killed run ends with the same bits.
"""

import contextlib
import math
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hallucade.data.clips import Clip, ClipSource
from hallucade.data.prefetch import prefetch
from hallucade.methods.base import Method
from hallucade.training import ranks, sharding
from hallucade.training.checkpoint import Checkpoint, CheckpointError
from hallucade.training.curriculum import stage_number, stage_row, stage_share
from hallucade.training.interrupts import Interrupts
from hallucade.training.learner import Learner
from hallucade.training.loggers import Logger, MetricsFile, ProgressLog, TensorBoardLog
from hallucade.training.offload import Offloaded, teachers
from hallucade.training.preflight import is_out_of_memory, try_largest
from hallucade.training.progress import TrainingState
from hallucade.training.provenance import provenance
from hallucade.training.run_folder import RunFolder
from hallucade.training.trainer_config import TrainerConfig
from hallucade.training.update import Updater

AUTO_COMPILE_STEPS = 2000  # fewer steps do not earn back a minute or two of compilation


@runtime_checkable
class Callback(Protocol):
    """Something to do every so many steps: sample a video, evaluate. It comes before the step's checkpoint.

    It runs on rank 0; on every rank if it has an attribute `every_rank` that is true. One that reads no weights says so
    by a false `reads_weights`, which spares sharded ranks their exchange.
    """

    every: int

    def __call__(self, step: int, trainer: "Trainer") -> None:
        """Act after `step` completed steps; ``trainer.log`` adds numbers to the step's row."""
        ...


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    reason: Literal["finished", "interrupted", "out of time"]
    step: int  # completed steps
    checkpoint: Path  # the newest
    skipped: int  # steps that were not finite
    frames_per_s: float
    peak_memory: int  # bytes, of one full-size step


class TrainingDivergedError(RuntimeError):
    """Losses stayed non-finite after every allowed rollback."""


class Trainer:
    """Trains a method on clips into a run folder."""

    def __init__(
        self,
        config: TrainerConfig,
        method: Method,
        clips: ClipSource,
        run_folder: Path,
        *,
        run_config: dict[str, Any],
        callbacks: Sequence[Callback] = (),
        fabric: Fabric | None = None,
        fingerprint: str | None = None,
        progress: bool = True,
        entering: Mapping[int, "Callable[[Trainer], None]"] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Move the method to its device and make its optimizers.

        Args:
            config: how to train.
            method: what to train.
            clips: where batches come from.
            run_folder: new or empty, unless ``train`` resumes.
            run_config: the whole run as JSON; goes into the run folder and every checkpoint.
            callbacks: what else to do, and how often.
            fabric: device, precision and ranks; by default what is here, or what torchrun started.
            fingerprint: of the data; goes into every checkpoint.
            progress: whether to show a bar, or lines where there is no terminal.
            entering: what to do where a stage begins, by its number.
            clock: seconds, for speed and the time limit.
        """
        self.config, self.method, self.clips = config, method, clips
        self.run = RunFolder(run_folder, config.keep, config.milestone_every)
        self.fabric = fabric or ranks.make_fabric(config.precision)
        self.state = TrainingState()
        self.frames_per_s = 0.0
        self.peak_memory = 0  # bytes, of one full-size step
        self._run_config, self._callbacks, self._clock = run_config, callbacks, clock
        self._metadata = {**provenance(), "data": fingerprint}
        self._show_progress = progress
        self._entering = entering or {}
        self._row: dict[str, float] = {}
        self._frames, self._seconds = 0, 0.0
        self._saved_step = -1
        self._loggers: list[Logger] = []
        self._build()

    def _build(self) -> None:
        if self.config.sharded:
            sharding.shard(self.fabric, self.method)
        self.fabric.to_device(self.method)
        ranks.share_weights(self.fabric, self.method)
        for network in teachers(self.method).values() if self.config.offload else ():
            Offloaded(network, self.fabric.device)
        for role in self.method.roles().values():
            role.train()
        self.learner = Learner(self.method, self.config.optimizer, self.config.ema, self.config.role_optimizers)
        self.schedule = self.config.schedule.build(self.config.steps)
        optimizers = self.learner.optimizers
        self._update = Updater(self.fabric, self.method, optimizers, self.config.accumulate, self.config.clip_norm)
        if self._compiles():
            for role in self.method.roles().values():
                role.compile(dynamic=False)  # in place: names in the state_dict stay; a stage of clips, a graph

    def train(self, resume: bool = False) -> TrainingResult:
        """Train to the last step, a signal, or the time limit; each ends with a checkpoint.

        Args:
            resume: go on from the newest whole checkpoint; a run that has none yet starts.

        Raises:
            ValueError: the run folder is not empty and `resume` is off, another training is at work there, or memory
                does not suffice for one step.
            CheckpointError: a checkpoint cannot be written or read.
            TrainingDivergedError: losses stayed non-finite.
        """
        with self._claimed_folder(resume), Interrupts() as interrupts:
            self.peak_memory = try_largest(self.clips, self._first_step, self.learner, self.fabric.device)
            if resume and self.run.checkpoints.steps():
                self._restore()
            self._batches = self._read_from(self.state.batch_index)
            self._open_logs()
            try:
                reason = self._loop(interrupts)
            except Exception as error:
                self._rescue(error)
                raise
            finally:
                self._batches.close()
                for logger in self._loggers:
                    logger.close()
        newest = self.run.checkpoints.path(self._saved_step)
        state = self.state
        return TrainingResult(reason, state.step, newest, state.skipped, self.frames_per_s, self.peak_memory)

    def log(self, values: dict[str, float]) -> None:
        """Add numbers to the row of the present step."""
        self._row |= values

    @contextlib.contextmanager
    def ema_weights(self) -> Generator[None]:
        """Put averaged weights, where there are any, and evaluation mode in force for the block."""
        modes = {module: module.training for module in self.method.modules()}
        self.method.eval()
        try:
            with self.learner.averages_in_force():
                yield
        finally:
            for module, training in modes.items():
                module.training = training

    def _loop(self, interrupts: Interrupts) -> Literal["finished", "interrupted", "out of time"]:
        deadline = math.inf if self.config.minutes is None else self._clock() + 60 * self.config.minutes
        if self._saved_step < 0:
            self._save()  # what a rollback falls back to, and proof that the disk takes checkpoints
        while self.state.step < self.config.steps:
            if ranks.any_rank(self.fabric, interrupts.received is not None):
                self._save()
                return "interrupted"
            if ranks.any_rank(self.fabric, self._clock() >= deadline):
                self._save()
                return "out of time"
            self._step()
        self._save(last=True)
        return "finished"

    def _first_step(self, largest: int) -> None:
        """Update on the largest batch at its hardest; where compilation was our choice and fails, go on without it.

        Losses that teach nothing are refused.
        """
        batch = self.clips.batch_at(largest, self.fabric.global_rank, self.fabric.world_size)
        step = self.method.hardest_step(largest)
        self._update.check_losses(batch, step)
        try:
            self._update(batch, step, self.schedule(0))
        except Exception as error:
            if self.config.compile != "auto" or not self._compiles() or is_out_of_memory(error):
                raise
            warnings.warn(f"compilation failed ({type(error).__name__}); training without it", stacklevel=2)
            for role in self.method.roles().values():
                role._compiled_call_impl = None  # pyright: ignore[reportPrivateUsage]
            self._update(batch, step, self.schedule(0))

    def _read_from(self, index: int) -> Generator[Clip]:
        rank, world = self.fabric.global_rank, self.fabric.world_size
        return cast("Generator[Clip]", prefetch(self.clips, index, rank=rank, world=world))

    def _step(self) -> None:
        state, start = self.state, self._clock()
        for number in state.stages_until(stage_number(self.clips, state.batch_index)):
            if number in self._entering:
                self._entering[number](self)
        batch = next(self._batches)
        state.skipped_windows += batch.skipped
        torch.manual_seed(self._step_seed())
        share = self.schedule(state.step) * stage_share(
            self.clips, state.batch_index, self.config.optimizer.learning_rate
        )
        values = self._update(batch, state.step, share)
        if values is not None:
            self.learner.average(self._update.updated)
        state.step += 1
        self._frames += self.method.frames_of(batch) * self.fabric.world_size
        self._seconds += self._clock() - start
        if values is None:
            self._count_bad_step()
            return
        state.bad_in_a_row = 0
        state.add({**values, "learning_rate": self.config.optimizer.learning_rate * share})
        self._after_step()

    def _after_step(self) -> None:
        """Log, call back, save: whatever is due."""
        step = self.state.step
        if step % self.config.log_every == 0 or step == self.config.steps:
            self.log(self._measurements())
        self._call_back(step)
        row, self._row = self._row, {}
        if row:
            for logger in self._loggers:
                logger.log(step, row)
        if step % self.config.checkpoint_every == 0:
            self._save()

    def _measurements(self) -> dict[str, float]:
        """Return means since the last row, and speed."""
        self.frames_per_s = self._frames / max(self._seconds, 1e-9)
        self._frames, self._seconds = 0, 0.0
        return {
            **self.state.take_means(),
            "frames_per_s": self.frames_per_s,
            "skipped_steps": float(self.state.skipped),
            **stage_row(self.clips, self.state.batch_index - 1),
            **({"data/skipped_windows": float(self.state.skipped_windows)} if self.state.skipped_windows else {}),
        }

    def _call_back(self, step: int) -> None:
        due = [callback for callback in self._callbacks if step % callback.every == 0]
        dreams = any(getattr(callback, "reads_weights", True) for callback in due)
        with self.learner.whole_networks() if dreams else contextlib.nullcontext():
            for callback in due:
                if self.fabric.is_global_zero or getattr(callback, "every_rank", False):
                    callback(step, self)

    def _count_bad_step(self) -> None:
        """Skip a non-finite step; too many in a row go back to the last checkpoint and read on in the data from there.

        Raises:
            TrainingDivergedError: the allowed rollbacks are used up.
        """
        state = self.state
        state.skipped += 1
        state.bad_in_a_row += 1
        if state.bad_in_a_row < self.config.max_bad_steps:
            return
        if state.rollbacks >= self.config.max_rollbacks:
            raise TrainingDivergedError(
                f"losses are not finite: {state.bad_in_a_row} steps in a row up to step {state.step}, after "
                f"{state.rollbacks} rollbacks; lower the learning rate, or look at the data near batch "
                f"{state.batch_index - 1}"
            )
        self._restore()
        # The batches between checkpoint and failure are not read again: a bad one would only stop the run once more.
        self.state = replace(
            self.state,
            offset=state.batch_index - self.state.step,
            skipped=state.skipped,
            rollbacks=state.rollbacks + 1,
        )
        warnings.warn(
            f"{state.bad_in_a_row} steps in a row were not finite: back from step {state.step} to {self.state.step}",
            stacklevel=2,
        )
        self._batches.close()
        self._batches = self._read_from(self.state.batch_index)
        for logger in self._loggers:
            logger.rewind(self.state.step)

    def _save(self, last: bool = False) -> None:
        """Save at the present step, unless that is done or the last step was bad."""
        state = self.state
        if state.step == self._saved_step or (state.bad_in_a_row and not last):
            return
        state.rollbacks = 0
        checkpoint = self._checkpoint(ranks.gather(self.fabric, self.learner.rank_state()))
        if self.fabric.is_global_zero:
            self.run.checkpoints.save(checkpoint)
        self._saved_step = state.step
        ranks.wait(self.fabric)

    def _checkpoint(self, begun: Sequence[dict[str, Tensor]]) -> Checkpoint:
        state = {"training": self.state.to_json(), "ema_updates": self.learner.ema_updates()}
        keep = self.fabric.is_global_zero
        weights, training = (
            sharding.gathered(tensors, keep) for tensors in (self.learner.weights(), self.learner.training(begun))
        )
        return Checkpoint(self.state.step, weights, self._run_config, self._metadata, training, state)

    def _restore(self) -> None:
        """Take over the newest whole checkpoint."""
        checkpoint = self.run.checkpoints.load()
        where = self.run.checkpoints.path(checkpoint.step)
        if not checkpoint.state:
            raise CheckpointError(f"{where} holds weights only and cannot be resumed; start a new run from it")
        if checkpoint.metadata.get("data") != self._metadata["data"]:
            warnings.warn(f"{where} was trained on other data; from here on the run differs from it", stacklevel=2)
        self.learner.load(checkpoint, where, self.fabric.global_rank, self.fabric.world_size)
        self.state = TrainingState(**checkpoint.state["training"])
        self._saved_step = checkpoint.step

    def _rescue(self, error: Exception) -> None:
        """Save before an error ends the run, where the state is that of a completed step."""
        state = self.state
        if isinstance(error, CheckpointError) or self._update.torn or state.bad_in_a_row:
            return
        if state.step == self._saved_step or not self.fabric.is_global_zero or self.learner.sharded:
            return
        try:
            begun = [self.learner.rank_state()]  # without waiting for ranks that may never come
            self.run.checkpoints.save(self._checkpoint(begun))
        except CheckpointError as failure:
            warnings.warn(str(failure), stacklevel=2)

    @contextlib.contextmanager
    def _claimed_folder(self, resume: bool) -> Generator[None]:
        if not resume:
            self.run.refuse_if_used()
        ranks.wait(self.fabric)
        if self.fabric.is_global_zero:
            self.run.claim(self._run_config)
        ranks.wait(self.fabric)
        try:
            yield
        finally:
            self.run.release()

    def _open_logs(self) -> None:
        if not self.fabric.is_global_zero:
            return
        self._loggers = [MetricsFile(self.run.metrics), TensorBoardLog(self.run.tensorboard)]
        if self._show_progress:
            progress = ProgressLog(self.config.steps)
            progress.note(f"one step needs {self.peak_memory / 1e6:,.0f} MB at its peak")
            self._loggers.append(progress)
        for logger in self._loggers:
            logger.rewind(self.state.step)

    def _compiles(self) -> bool:
        if self.config.compile != "auto":
            return self.config.compile
        ready = self.fabric.device.type != "cpu" or any(map(shutil.which, ("g++", "clang++")))
        return ready and self.config.steps >= AUTO_COMPILE_STEPS and not self.config.sharded

    def _step_seed(self) -> int:
        return ((self.config.seed * 1_000_003 + self.state.batch_index) * 4099 + self.fabric.global_rank) % 2**63
