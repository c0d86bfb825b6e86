"""The processes of an ablation share out the GPUs of a machine; no process is started and no GPU is asked for."""

import os
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_ablation import tiny_ablation

from hallucade.recipes.ablation import workers
from hallucade.recipes.ablation.ablation import Ablation, AblationConfig
from hallucade.recipes.ablation.workers import VISIBLE, Typed, shown_devices, work_in_processes

GPUS = {"": (), "4": ("4",), "3, 5": ("3", "5"), "1,-1,2": ("1",), "GPU-8f,MIG-2a": ("GPU-8f", "MIG-2a")}


class Machine:
    """A multiprocessing context whose processes end at once, and say what they would have seen."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def Pipe(self, duplex: bool):
        return Pipe(duplex)

    def Process(self, target, args):
        return SimpleNamespace(start=lambda: self.seen.append(os.environ.get(VISIBLE)), join=list, exitcode=0)


@pytest.mark.parametrize(("given", "devices"), GPUS.items())
def test_devices_are_those_that_this_process_may_use(given: str, devices: tuple[str, ...]) -> None:
    assert shown_devices({VISIBLE: given}) == devices


@pytest.mark.parametrize(
    ("given", "present", "seen"),
    [
        ("3,5", 9, ["3", "5", "3"]),
        (None, 2, ["0", "1", "0"]),
        (None, 0, [None, None, None]),
        ("", 9, ["", "", ""]),
    ],
)
def test_each_process_sees_one_gpu_in_turn(
    given: str | None, present: int, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: present)
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda _: machine)
    monkeypatch.delenv(VISIBLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VISIBLE, given)
    ablation = object.__new__(Ablation)  # with nothing planned
    ablation.config, ablation.out = AblationConfig(recipe=tiny_ablation(), vary=()), Path("out")
    work_in_processes(ablation, (), 3, Typed("recipe", "store"), lambda *_: None)
    assert machine.seen == seen
    assert os.environ.get(VISIBLE) == given
