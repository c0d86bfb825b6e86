"""A teacher that waits in the host's memory scores as one that does not, and is there only while it does."""

from pathlib import Path

import pytest
import torch
from sharded_training import SmallClips, small_method, small_trainer

from hallucade.methods.distribution_matching import DistributionMatchingConfig
from hallucade.methods.self_forcing import SelfForcing
from hallucade.training.live_memory import LiveMemory
from hallucade.training.offload import Offloaded, teachers
from hallucade.training.run_folder import RunFolder
from hallucade.training.trainer_config import TrainerConfig

CPU = torch.device("cpu")


def test_training_with_a_waiting_teacher_is_the_same(tmp_path: Path) -> None:
    small_trainer(tmp_path / "waits", "distilled", 3, offload=True).train()
    small_trainer(tmp_path / "stays", "distilled", 3).train()
    waits, stays = (RunFolder(tmp_path / name).checkpoints.load() for name in ("waits", "stays"))
    assert all(torch.equal(value, stays.weights[name]) for name, value in waits.weights.items())


def test_weights_live_on_the_device_only_while_a_call_runs() -> None:
    method = small_method("distilled")
    clip = SmallClips().batch_at(0)
    (teacher,) = teachers(method).values()
    assert teacher is method.teacher
    size = sum(p.numel() * 4 for p in teacher.parameters())
    before = [p.detach().clone() for p in teacher.parameters()]
    offloaded = Offloaded(teacher, CPU)
    levels = torch.full(clip.latents.shape[:2], 0.5)
    seen: list[int] = []
    with LiveMemory(CPU) as memory, torch.no_grad():
        teacher.blocks[1].register_forward_hook(lambda *_: seen.append(memory.now))
        teacher.restore(clip.latents, levels, clip.actions)  # calls forward, which fetches nothing again
        assert memory.now < size / 2
    assert seen[0] > size
    assert all(torch.equal(p, value) for p, value in zip(teacher.parameters(), before, strict=True))
    assert len(offloaded.tensors) >= len(before)


def test_networks_that_learn_or_are_saved_do_not_wait() -> None:
    assert set(teachers(small_method("distilled"))) == {"teacher"}
    assert teachers(small_method("lora")) == {}


def test_gradients_through_a_waiting_teacher_are_refused() -> None:
    method = small_method("distilled", DistributionMatchingConfig(gradient="sid"))
    assert isinstance(method, SelfForcing)
    Offloaded(method.teacher, CPU)
    with pytest.raises(ValueError, match=r"asked for gradients.*leave offload off, or match by gradient='dmd'"):
        next(method.losses(SmallClips().batch_at(0), 0))


def test_options_that_a_network_in_parts_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match="offload and sharded are both on"):
        TrainerConfig(steps=1, offload=True, sharded=True)
    with pytest.raises(ValueError, match="compile and sharded are both on"):
        TrainerConfig(steps=1, compile=True, sharded=True)
