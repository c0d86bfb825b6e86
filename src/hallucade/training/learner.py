"""What a training changes, and how that becomes the tensors of a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from hallucade.training.checkpoint import Checkpoint, load_tensors
from hallucade.training.ema import EMA
from hallucade.training.optimizers import RoleOptimizer


@dataclass(frozen=True)
class Learner:
    """Everything that a step changes: the method, the optimizer of each role, the averages."""

    method: nn.Module
    optimizers: dict[str, RoleOptimizer]
    ema: EMA | None

    def weights(self) -> dict[str, Tensor]:
        """Return the method's tensors, averages in place of trained weights where there are averages."""
        averages = self.ema.averages if self.ema else {}
        return {**self.method.state_dict(), **averages}

    def training(self) -> dict[str, Tensor]:
        """Return what only a resumed training needs: ``raw/name`` and ``optimizer/role/name/slot``."""
        state = self.method.state_dict()
        raw = {f"raw/{name}": state[name] for name in (self.ema.averages if self.ema else {})}
        return raw | {
            f"optimizer/{role}/{key}": value
            for role, optimizer in self.optimizers.items()
            for key, value in optimizer.state().items()
        }

    def load(self, checkpoint: Checkpoint, where: Path) -> None:
        """Take over what a checkpoint holds; averages start from the weights if it has none.

        Raises:
            CheckpointError: its tensors do not fit.
        """
        load_tensors(self.method, checkpoint.weights | _below("raw/", checkpoint.training), where)
        for role, optimizer in self.optimizers.items():
            optimizer.load_state(_below(f"optimizer/{role}/", checkpoint.training))
        if self.ema is not None:
            self.ema.load(checkpoint.weights, checkpoint.state["ema_updates"])

    def ema_updates(self) -> int:
        """Return how often the averages moved."""
        return self.ema.updates if self.ema else 0


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
