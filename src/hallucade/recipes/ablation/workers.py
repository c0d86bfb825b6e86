"""Several runs at a time on this machine, each process taking the next run that nobody is at.

Where there are GPUs each process sees one of them, in turn: two GPUs and four processes are two processes a GPU.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from hallucade.data.executors import deaf_children
from hallucade.data.mixture import open_stores
from hallucade.recipes.ablation.ablation import Ablation, AblationConfig, Told
from hallucade.recipes.ablation.runs import Job, RunRecord
from hallucade.recipes.latents import open_caches
from hallucade.recipes.registry import find_recipe

VISIBLE = "CUDA_VISIBLE_DEVICES"  # read by the driver when a process first asks for a GPU; ROCm's torch obeys it too


@dataclass(frozen=True)
class Typed:
    """What a user typed, for other processes to read again."""

    recipe: str  # name or file
    store: str
    latents: str | None = None


@dataclass(frozen=True)
class Assignment:
    """What a worker process is told; plain values, since a recipe's own file may define its configs."""

    typed: Typed
    config: dict[str, Any]  # of the ablation, as JSON
    out: Path
    folders: tuple[Path, ...]  # of the runs to perform
    threads: int


def work_in_processes(ablation: Ablation, jobs: Sequence[Job], count: int, typed: Typed, told: Told) -> None:
    """Perform `jobs` in `count` processes.

    Ctrl-C, or the end of this process in any way, lets every worker save and stop.

    Raises:
        KeyboardInterrupt: after all of them have saved.
        RuntimeError: a worker died.
    """
    threads = max(1, torch.get_num_threads() // count)
    folders = tuple(job.folder for job in jobs)
    assignment = Assignment(typed, ablation.config.to_json(), ablation.out, folders, threads)
    context = multiprocessing.get_context("spawn")
    by_folder, ears = {job.folder: job for job in jobs}, list[Connection]()
    devices, processes = shown_devices(os.environ), list[Any]()
    with deaf_children():
        for worker in range(count):
            ear, mouth = context.Pipe(duplex=False)
            processes.append(context.Process(target=_work, args=(assignment, mouth)))
            with _seeing(devices[worker % len(devices)] if devices else None):
                processes[-1].start()
            mouth.close()
            ears.append(ear)
    try:
        _listen(ears, by_folder, told)
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()  # a wish: the trainer saves first
        raise
    finally:
        for process in processes:
            process.join()
    if dead := [process.exitcode for process in processes if process.exitcode]:
        raise RuntimeError(f"{len(dead)} of {count} workers died (exit code {dead[0]}); the same command goes on")


def shown_devices(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use, as the variable `VISIBLE` spells them."""
    if VISIBLE not in environment:
        return tuple(map(str, range(torch.accelerator.device_count())))
    names = [name.strip() for name in environment[VISIBLE].split(",")]
    return tuple(itertools.takewhile(lambda name: name and name != "-1", names))  # as the driver reads it


@contextlib.contextmanager
def _seeing(device: str | None) -> Generator[None]:
    """Let processes that start here see this GPU alone."""
    if device is None:
        yield
        return
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _listen(ears: list[Connection], jobs: dict[Path, Job], told: Told) -> None:
    open_ears = list(ears)
    while open_ears:
        for ear in wait(open_ears):
            assert isinstance(ear, Connection)
            try:
                folder, record = ear.recv()
            except EOFError:
                open_ears.remove(ear)
                continue
            told(jobs[folder], RunRecord.from_json(record))


def _work(assignment: Assignment, mouth: Connection) -> None:
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    torch.set_num_threads(assignment.threads)
    typed = assignment.typed
    find_recipe(typed.recipe)  # configs that its file defines are known from here on
    config = AblationConfig.from_json(assignment.config)
    ablation = Ablation(config, open_stores(typed.store), assignment.out, open_caches(typed.latents))
    wanted = set(assignment.folders)

    def told(job: Job, record: RunRecord) -> None:
        mouth.send((job.folder, record.to_json()))

    ablation.work([job for job in ablation.jobs if job.folder in wanted], told)


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
