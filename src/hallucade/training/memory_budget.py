"""How much memory a training will need, network by network and at the peak of a step, before it is begun.

The step is a real one, of the method, the optimizers and the averages that will train; only the tensors are stand-ins,
so that nothing is computed and nothing is allocated (see `live_memory`).
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hallucade.data.clips import Clip
from hallucade.methods.base import Method
from hallucade.training.learner import Learner
from hallucade.training.live_memory import LiveMemory
from hallucade.training.offload import Offloaded, teachers
from hallucade.training.trainer_config import TrainerConfig

Built = TypeVar("Built", bound=nn.Module)
STEPS = 64  # tried at most until every role was updated


@dataclass(frozen=True)
class NetworkMemory:
    """What one network needs, in bytes."""

    name: str
    trained: int  # parameters
    frozen: int  # parameters
    waiting: int  # of weights, in the host's memory
    weights: int
    gradients: int
    optimizer: int
    averages: int

    @property
    def resting(self) -> int:
        """Bytes between two steps."""
        return self.weights + self.optimizer + self.averages


@dataclass(frozen=True)
class MemoryBudget:
    """What a training needs, in bytes."""

    networks: tuple[NetworkMemory, ...]
    peak: int  # of one step, everything included
    checkpoint: int  # on disk
    largest_tensor: int  # what writing a checkpoint holds in the host's memory, beside what is there

    @property
    def resting(self) -> int:
        """Bytes between two steps."""
        return sum(network.resting for network in self.networks)

    @property
    def working(self) -> int:
        """Bytes of gradients, activations and copies at the peak of a step."""
        return self.peak - self.resting


class StandIns:
    """Makes and keeps tensors that have no memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def network(self, build: Callable[[], Built]) -> Built:
        """Build a network whose weights have no memory."""
        with torch.device("meta"):
            return self.replaced(build())

    def replaced(self, network: Built) -> Built:
        """Give a network that was built weights without memory."""
        made: dict[Tensor, Tensor] = {}
        for module in network.modules():
            for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                if value not in made:
                    made[value] = self._stand_in(value)
                setattr(module, name, made[value])
        return network

    def like(self, clip: Clip) -> Clip:
        """Return stand-ins of a clip's tensors."""
        assert clip.latents is not None
        frames, actions, latents = map(self._stand_in, (clip.frames, clip.actions, clip.latents))
        return Clip(frames, actions, clip.seed, latents=latents, pace=clip.pace)

    def _stand_in(self, like: Tensor) -> Tensor:
        with self._mode:
            made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=self.device)
        return nn.Parameter(made, like.requires_grad) if isinstance(like, nn.Parameter) else made


def memory_budget(config: TrainerConfig, method: Method, clip: Clip, step: int, device: torch.device) -> MemoryBudget:
    """Return what training `method` on clips like `clip` from `step` on needs.

    Args:
        config: of the trainer.
        method: of networks that are `StandIns`.
        clip: a full batch of this rank, of stand-ins.
        step: the first of those in which clips are so large.
        device: where the training will be.

    Raises:
        ValueError: not every role is updated within `STEPS` steps.
    """
    for role in method.roles().values():
        role.train()
    away = teachers(method) if config.offload else {}
    waiting = {id(tensor) for network in away.values() for tensor in Offloaded(network, device).tensors}
    learner = Learner(method, config.optimizer, config.ema, config.role_optimizers)
    _start_optimizers(learner)
    with LiveMemory(device, (tensor for tensor in _resting(learner) if id(tensor) not in waiting)) as memory:
        peak = _run_steps(config, learner, clip, step, device, memory)
    saved = [*learner.weights().values(), *learner.training([learner.rank_state()]).values()]
    return MemoryBudget(
        networks=tuple(_networks(learner, away)),
        peak=peak,
        checkpoint=_bytes(saved),
        largest_tensor=max(_size(tensor) for tensor in saved),
    )


def _start_optimizers(learner: Learner) -> None:
    """Give optimizers their momenta, as after a first step."""
    for optimizer in learner.optimizers.values():
        for parameter in optimizer.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step(0.0)
        for parameter in optimizer.parameters.values():
            parameter.grad = None


def _run_steps(
    config: TrainerConfig, learner: Learner, clip: Clip, first: int, device: torch.device, memory: LiveMemory
) -> int:
    """Run the last microbatch of steps until every role was updated; return the peak, in bytes."""
    waiting, peak = set(learner.optimizers), 0
    first = learner.method.hardest_step(first)
    for step in range(first, first + STEPS):
        if not waiting:
            return peak
        losses = learner.method.losses(clip.split(config.accumulate)[-1], step)
        while True:
            memory.reset_peak()
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"):
                turn = next(losses, None)
            if turn is None:
                break
            role, loss = turn
            forward = memory.peak
            if config.accumulate > 1:  # gradients of the microbatches before were there all the time
                forward += _accumulated(learner.optimizers[role].parameters.values())
            loss.backward()
            del loss, turn
            learner.optimizers[role].step(1.0)
            learner.average([role])
            peak = max(peak, forward, memory.peak)
            waiting.discard(role)
            for parameter in learner.method.parameters():
                parameter.grad = None
    if waiting:
        raise ValueError(f"{', '.join(waiting)} is not updated in {STEPS} steps; let it learn more often")
    return peak


def _accumulated(parameters: Iterable[nn.Parameter]) -> int:
    """Give parameters gradients, as earlier microbatches do; return their bytes."""
    gradients: list[Tensor] = []
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    return _bytes(gradients)


def _resting(learner: Learner) -> list[Tensor]:
    """Return all tensors that stay from step to step."""
    momenta = [value for optimizer in learner.optimizers.values() for value in optimizer.state().values()]
    averages = [value for ema in learner.emas.values() for value in ema.averages.values()]
    return [*learner.method.parameters(), *learner.method.buffers(), *momenta, *averages]


def _networks(learner: Learner, away: Container[str]) -> Iterable[NetworkMemory]:
    """Yield what is trained, then what is not, each where it has weights."""
    roles = learner.method.roles()
    trained_by = {id(parameter) for network in roles.values() for parameter in network.parameters()}
    children = cast("Iterable[tuple[str, nn.Module]]", learner.method.named_children())
    others = {
        name: network
        for name, network in children
        if name not in roles and any(id(parameter) not in trained_by for parameter in network.parameters())
    }
    for name, network in {**roles, **others}.items():
        parameters = list(network.parameters())
        if not parameters:
            continue
        trained = [p for p in parameters if p.requires_grad and name in learner.optimizers]
        momenta = learner.optimizers[name].state().values() if name in learner.optimizers else ()
        averages = learner.emas[name].averages.values() if name in learner.emas else ()
        yield NetworkMemory(
            name=name,
            trained=sum(p.numel() for p in trained),
            frozen=sum(p.numel() for p in parameters) - sum(p.numel() for p in trained),
            waiting=_bytes([*parameters, *network.buffers()]) if name in away else 0,
            weights=0 if name in away else _bytes([*parameters, *network.buffers()]),
            gradients=_bytes(trained),
            optimizer=_bytes(momenta),
            averages=_bytes(averages),
        )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(map(_size, tensors))


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
